"""Follows what is stored in the archive and deleted there, and keeps an index of it.

One site process at a time does it. The index holds nothing of a patient: ids, UIDs, dates, counts.
"""
