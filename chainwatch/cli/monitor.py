"""`chainwatch monitor`: see what a daemon does, as it does it."""
