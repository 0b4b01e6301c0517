"""Life as a service: the unit file, and what systemd is told while the daemon runs (sd_notify(3))."""
