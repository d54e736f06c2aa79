"""Keeps addresses out of the log: what somebody typed into one may be a patient's name."""

from __future__ import annotations

import logging


class RouteOnly(logging.Filter):
    """Lines about a call name the pattern of its address, ``studies/<str:study_id>/``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the path among the line's arguments, as Django writes them; keep every line."""
        path = getattr(getattr(record, "request", None), "path", None)
        if path is not None and isinstance(record.args, tuple):
            match = record.request.resolver_match  # type: ignore[attr-defined]
            route = match.route if match else "(no such address)"
            record.args = tuple(route if part == path else part for part in record.args)
        return True
