"""The old name of `web.access.origin`, for one more version: a host's middleware."""

from __future__ import annotations

from web.access.origin import same_origin

__all__ = ["same_origin"]
