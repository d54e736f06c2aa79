"""Finds requests that nobody speaks of any more, and ends them or sends them again.

One site process at a time does it.
"""
