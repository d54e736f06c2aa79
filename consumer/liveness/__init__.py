"""That a lab runs: for the site, for systemd, and for whoever drains it."""
