"""The demo: one command from a fresh checkout to a running site, broker, archive and lab."""
