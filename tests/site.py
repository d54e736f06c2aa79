"""The site's settings and its readers, for tests that run it in their own process."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, User
from pydantic import SecretStr

from infra.local.orthanc import OrthancNode
from web.access.models import StudyGrant


def site_with(settings: Any, **values: Any) -> None:
    """Change the site's settings until pytest-django's `settings` fixture puts them back."""
    settings.SITE = settings.SITE.model_copy(update=values)


def use_archive(settings: Any, orthanc: OrthancNode, *, waits: bool = False) -> None:
    """Let the site read from this Orthanc; whether requests wait for series that still grow."""
    site_with(
        settings,
        orthanc_url=orthanc.url,
        orthanc_user=orthanc.user,
        orthanc_password=SecretStr(orthanc.password),
        wait_for_whole_series=waits,
    )


def reader_of(*study_ids: str, name: str = "reader") -> User:
    """A user who sees these studies; without any, every study."""
    user = get_user_model().objects.create_user(name)
    group = Group.objects.create(name=f"{name}s")
    for study_id in study_ids or ("",):
        StudyGrant.objects.create(group=group, study_id=study_id)
    user.groups.add(group)
    return user
