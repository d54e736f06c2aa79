"""Which labs staff have let in, and to which pool each belongs. Synchronous.

The broker says who has spoken (`user_id`), and this says for which pool that one may speak. What a
lab tells of itself changes nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from pydantic import ValidationError

from messages.envelope import NAME_PATTERN
from messages.lab import MAX_MODELS, OFFLINE_AFTER_SECONDS, SERVING, ModelDescriptor
from messages.topology import POOLS, RETRY_TIERS, RULES
from web.labs.models import CONFIRMED, Lab, heard_lately

log = structlog.get_logger(__name__)

#: Names of the broker's users that are no lab's.
NO_LABS = frozenset({"admin", "web", "guest"})

#: Labs that nobody has confirmed and of which a row is kept, so that staff see who asks. Each has
#: a user of the broker: more of them than this is a mistake of whoever makes those.
MOST_STRANGERS = 50

_NAME = re.compile(NAME_PATTERN)


class NotConfirmed(Exception):
    """The lab was not confirmed; the text is a sentence for staff."""


def pools() -> tuple[str, ...]:
    """Every pool: those that ship, and those of labs that staff have added."""
    added = Lab.objects.filter(CONFIRMED).order_by("pool").values_list("pool", flat=True).distinct()
    return tuple(dict.fromkeys((*POOLS, *added)))


def pool_of(user: str) -> str | None:
    """The pool of the lab that is this user of the broker; None for one that is not confirmed."""
    return Lab.objects.filter(CONFIRMED, name=user).values_list("pool", flat=True).first()


def pools_of(users: Collection[str]) -> dict[str, str]:
    """The pools of those of these users that are confirmed labs."""
    return dict(Lab.objects.filter(CONFIRMED, name__in=users).values_list("name", "pool"))


def confirmed(pool: str | None = None) -> QuerySet[Lab]:
    """The labs that count: of a pool, or all of them."""
    labs = Lab.objects.filter(CONFIRMED)
    return labs if pool is None else labs.filter(pool=pool)


def heard(
    pool: str | None = None, within_s: float = OFFLINE_AFTER_SECONDS, now: datetime | None = None
) -> QuerySet[Lab]:
    """The labs that count and were heard within so many seconds."""
    return confirmed(pool).filter(last_seen__range=heard_lately(now or timezone.now(), within_s))


def confirm(name: str, pool: str, by: User | None = None) -> Lab:
    """Let the lab in, for that pool; done twice it is done once.

    Raises `NotConfirmed` for a name or a pool that cannot be, and for a lab of another pool.
    """
    problem = why_not(name, pool)
    if problem is not None:
        raise NotConfirmed(problem)
    with transaction.atomic():
        lab = Lab.objects.select_for_update().filter(name=name).first()
        if lab is None:
            lab = Lab(name=name, models=[], current=[], condition=SERVING)
        elif lab.confirmed_at is not None:
            if lab.pool != pool:
                raise NotConfirmed(
                    f"{name} belongs to the pool {lab.pool}: take it out first "
                    f"(mri-web lab remove {name})"
                )
            return lab
        # What it said before anybody knew it counts for nothing.
        lab.models = undescribed(lab.models) if lab.pool == pool else []
        lab.pool, lab.confirmed_at, lab.confirmed_by = pool, timezone.now(), by
        lab.current, lab.processes, lab.served = [], None, None
        lab.save()
    log.info("lab_confirmed", lab=name, pool=pool)
    return lab


def undescribed(models: object) -> list[Any]:
    """Of models that a version before has heard of: names and inputs, and no word besides.

    So a lab that is off during an upgrade is asked for what it serves, and not for the default
    model. Anybody may have told them, so nothing of them is shown as a lab's word; its first
    heartbeat replaces them.
    """
    found = []
    for one in models if isinstance(models, list) else []:
        with suppress(ValidationError, TypeError, LookupError):
            found.append(without_words(one["name"], one["roles"]).model_dump(mode="json"))
    return found[:MAX_MODELS]


def without_words(name: str, roles: Sequence[str]) -> ModelDescriptor:
    """A model that no lab has described: no version, and a hash that is none."""
    return ModelDescriptor(
        name=name, version="", sha256="0" * 64, roles=roles, labels=("lesion",), notice=""
    )


def forget(name: str) -> bool:
    """Let the lab in no more; whether it was known. What it has stored and told stays."""
    deleted, _ = Lab.objects.filter(name=name).delete()
    if deleted:
        log.info("lab_forgotten", lab=name)
    return bool(deleted)


def why_not(name: str, pool: str) -> str | None:
    """The sentence that says why there can be no such lab, or None."""
    for what, word in (("lab", name), ("pool", pool)):
        if _NAME.fullmatch(word) is None:
            return (
                f"the name of a {what} has small letters, digits, - and _, 63 at most, and begins "
                "with a letter or a digit"
            )
    if name in NO_LABS:
        return f"{name} is a user of the broker that is no lab"
    if pool in RETRY_TIERS:
        return f"a pool cannot be called {pool}: a retry tier is, and their queues would be one"
    if pool == RULES:
        return f"a pool cannot be called {pool}: the requests of all rules would go to it"
    return None


def strangers(now: datetime | None = None) -> QuerySet[Lab]:
    """Labs that have told of themselves and that nobody has confirmed, the newest first."""
    since = (now or timezone.now()) - timedelta(days=30)
    unknown = Lab.objects.exclude(CONFIRMED)
    return unknown.filter(last_seen__gte=since).order_by("-last_seen")
