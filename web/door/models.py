"""The old name of `web.access.models`, for one more version."""

from __future__ import annotations

from web.access.models import ApiToken, AuditEntry, StudyGrant

__all__ = ["ApiToken", "AuditEntry", "StudyGrant"]
