"""What pages are told without asking."""
