"""The old name of `web.access.limits`, for one more version: a host's middleware."""

from __future__ import annotations

from web.access.limits import rate_limited

__all__ = ["rate_limited"]
