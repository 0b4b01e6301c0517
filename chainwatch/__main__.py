"""`python -m chainwatch` is `chainwatch`."""

from chainwatch.cli import main

if __name__ == "__main__":
    main()
