"""The old name of `web.access.headers`, for one more version: a host's middleware."""

from __future__ import annotations

from web.access.headers import strict_headers

__all__ = ["strict_headers"]
