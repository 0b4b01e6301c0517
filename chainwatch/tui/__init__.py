"""The monitor: what a daemon does, in a terminal. It is an ordinary client of the daemon."""
