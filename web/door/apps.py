"""The old name of `web.access.apps`, for one more version."""

from __future__ import annotations

from web.access.apps import AccessConfig

__all__ = ["AccessConfig"]
