"""The clinic's one application."""
