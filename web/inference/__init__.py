"""Requests: written, followed through their states and shown."""
