"""
Prices that are asked for over HTTP: CoinGecko, CoinMarketCap.

    numbers        prices as text, exact: comparing them, and saying by how much one changed       (pure)
    quote          what is asked for, what was answered, and what is wrong with an answer          (pure)
    coingecko, coinmarketcap       the requests and the answers of the two APIs                    (pure)
    source         when to ask, how long to rest, and how it stands with a source                  (pure)
    fetch, round   one request, and all those of a source at once

Chainlink lives on a chain: see `derive.feeds`.
"""
