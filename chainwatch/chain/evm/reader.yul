// Answers many balances at once. Compiled into reader.hex by tests/data/contracts/build_reader.mjs.
//
// Input: pairs of 40 bytes, token and wallet; the token is zero for the native currency. They are the input of a call, or
// stand behind this code where it is run as the code of a creation.
//
// Output: 32 bytes, a tag and how many pairs are answered (the last 4 bytes); then 33 bytes for each: whether there is an
// answer (1 or 0), and the balance. The pairs that the gas does not reach are left out.
//
// Every call of a token has gas of its own, and one word of what it returns is looked at: a token that burns gas, reverts or
// returns megabytes spoils nobody's answer but its own.
object "Reader" {
    code {
        let pairs := 128
        let size := calldatasize()
        // What a call needs of gas, by the rule of 63/64 (EIP-150), and what is done before and after it.
        let enough := 600000
        switch size
        case 0 {
            size := sub(codesize(), datasize("Reader"))
            codecopy(pairs, datasize("Reader"), size)
            // A creation pays 200 for each byte that it returns.
            enough := add(enough, mul(size, 200))
        }
        default { calldatacopy(pairs, 0, size) }

        let end := add(pairs, mul(div(size, 40), 40))
        let answers := add(end, 32)
        let at := add(answers, 32)
        let done := 0
        mstore(0, 0x70a0823100000000000000000000000000000000000000000000000000000000) // balanceOf(address)
        for { } lt(pairs, end) { pairs := add(pairs, 40) } {
            if lt(gas(), enough) { break }
            let token := shr(96, mload(pairs))
            let wallet := shr(96, mload(add(pairs, 20)))
            let good := 0
            let value := 0
            switch token
            case 0 {
                good := 1
                value := balance(wallet)
            }
            default {
                if extcodesize(token) {
                    mstore(4, wallet)
                    if staticcall(500000, token, 0, 36, 64, 32) {
                        if gt(returndatasize(), 31) {
                            good := 1
                            value := mload(64)
                        }
                    }
                }
            }
            mstore8(at, good)
            mstore(add(at, 1), value)
            at := add(at, 33)
            done := add(done, 1)
        }
        mstore(answers, or(0xbd6e851cf50572012c7911dda34ce269f9ef1d674d04bf4d553fbe8100000000, done))
        return(answers, sub(at, answers))
    }
}
