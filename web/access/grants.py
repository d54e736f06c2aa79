"""Which studies a user sees. What is not granted does not exist for them: 404, never 403."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Model, QuerySet

from web.access.models import StudyGrant

#: A user as Django hands it over, logged in or not.
Anyone = AbstractBaseUser | AnonymousUser

M = TypeVar("M", bound=Model)


class Scope:
    """What one user sees, read from the database once."""

    def __init__(self, *, everything: bool, study_ids: Collection[str] = ()) -> None:
        #: Whether every study is seen, also those that arrive later.
        self.everything = everything
        #: Orthanc's ids of the studies that are seen; empty where `everything`.
        self.study_ids = frozenset(study_ids)

    def sees(self, study_id: str) -> bool:
        """Whether the study is there for this user."""
        return self.everything or study_id in self.study_ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scope) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[bool, frozenset[str]]:
        return self.everything, self.study_ids

    def only(self, rows: QuerySet[M], column: str = "study_id") -> QuerySet[M]:
        """Those of the rows whose study is seen."""
        return rows if self.everything else rows.filter(**{f"{column}__in": self.study_ids})


#: For the old calls from a trusted network, which have no user.
EVERYTHING = Scope(everything=True)

NOTHING = Scope(everything=False)


def scope_of(user: Anyone) -> Scope:
    """Read what the user sees: one query. Superusers see everything, others what is granted."""
    if not (user.is_authenticated and user.is_active):
        return NOTHING
    if getattr(user, "is_superuser", False):
        return EVERYTHING
    granted = StudyGrant.objects.filter(group__user=user.pk).values_list("study_id", flat=True)
    study_ids = set(granted)
    return EVERYTHING if "" in study_ids else Scope(everything=False, study_ids=study_ids)
