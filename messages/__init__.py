"""The contract between clinic and lab: what travels, by which names, under which identities.

Pydantic and the standard library only; no input or output. ``web`` and ``consumer`` import it,
it imports neither.
"""
