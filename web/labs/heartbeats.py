"""Heartbeats and descriptions become rows, and rows become what a page is told. Synchronous."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.utils import timezone

from messages.lab import (
    MAX_CURRENT,
    MAX_MODELS,
    MAX_PROCESSES,
    LabHeartbeat,
    LabModel,
    ModelDescriptor,
)
from web.labs.models import BEATS_COMPARED, CONFIRMED, Lab, ServedModel, heard_lately
from web.labs.registry import MOST_STRANGERS, confirmed
from web.log_limit import limit

log = structlog.get_logger(__name__)

#: Descriptions that are kept of one lab: those that it serves, and as many that it served before.
MOST_DESCRIPTIONS = 2 * MAX_MODELS

#: Bytes of descriptions of one lab that are on offer, as JSON: the whole of MONAI's zoo with a
#: segmentation of 133 labels takes a third. Every page carries them.
OFFER_BYTES = 192 * 1024

#: Seconds; a clock that is further off is not told apart.
_FARTHEST = 1e10


def record_heartbeat(
    beat: LabHeartbeat, told_at: datetime | None = None, *, received_at: datetime | None = None
) -> list[UUID]:
    """Write down what a lab told of itself: now, or `told_at` if it lay in a queue until now.

    Returns what it holds of its pool, in all of its processes. Call it inside a transaction.
    """
    now = received_at or timezone.now()
    lab = Lab.objects.select_for_update().filter(name=beat.lab).first()
    if lab is None:
        if Lab.objects.exclude(CONFIRMED).count() >= MOST_STRANGERS:
            limit.write(log.warning, "stranger_not_written_down", lab=beat.lab, count=1)
            return []
        log.warning("lab_unconfirmed", lab=beat.lab, pool=beat.pool)
        lab = Lab(name=beat.lab, pool=beat.pool, models=[], current=[])
    lab.device, lab.told_pool = beat.device, beat.pool
    # A clock that is ahead must not keep a lab online that is gone.
    lab.last_seen = min(told_at or now, now)
    if told_at is None:
        off = min(max((now - beat.at).total_seconds(), -_FARTHEST), _FARTHEST)
        lab.clock_differences = [*(lab.clock_differences or []), off][-BEATS_COMPARED:]
    if lab.confirmed_at is None:
        lab.pool = beat.pool
        lab.save()
        return []
    if not lab.conflict:
        lab.condition = beat.condition
        _hold(lab, beat, now)
        _serve(lab, beat)
    else:
        # It speaks for a pool that is not its own: what it serves and holds there is not believed.
        pools = {"pool": lab.pool, "told": beat.pool}
        limit.write(log.warning, "lab_names_another_pool", lab=lab.name, count=1, **pools)
        lab.current, lab.processes, lab.models, lab.served = [], None, [], None
    lab.save()
    return [UUID(one) for one in lab.current]


def record_model(told: LabModel, received_at: datetime | None = None) -> None:
    """Keep how a confirmed lab describes a model of its pool. Call it inside a transaction."""
    lab = Lab.objects.select_for_update().filter(CONFIRMED, name=told.lab).first()
    if lab is None or told.pool != lab.pool:
        # As many as it describes models.
        limit.write(log.warning, "model_not_believed", lab=told.lab, count=1, pool=told.pool)
        return
    _keep(lab, [told.model], received_at or timezone.now())
    if lab.served is not None and told.model.fingerprint in lab.served:
        lab.models = _known(lab, lab.served)
        lab.save(update_fields=["models"])


def _hold(lab: Lab, beat: LabHeartbeat, now: datetime) -> None:
    """Take what this process holds with what the others said, of those that are not lost."""
    since, until = heard_lately(now)
    name = str(beat.process or "")
    others = [
        one
        for one in lab.processes or []
        if one["process"] != name and since <= datetime.fromisoformat(one["at"]) <= until
    ]
    seen = (lab.last_seen or now).isoformat()
    newest = {"process": name, "at": seen, "current": [str(one) for one in beat.current]}
    kept, left = list[dict[str, Any]](), MAX_CURRENT
    for one in [newest, *reversed(others)][:MAX_PROCESSES]:
        current = one["current"][:left]
        left -= len(current)
        kept.insert(0, {**one, "current": current})
    lab.processes = kept
    lab.current = list(dict.fromkeys(held for one in kept for held in one["current"]))


def _serve(lab: Lab, beat: LabHeartbeat) -> None:
    if beat.fingerprints is None:
        # Of before: all of its models are in it.
        lab.served = None
        lab.models = _bounded(lab, [model.model_dump(mode="json") for model in beat.models])
        return
    lab.served = list(dict.fromkeys(beat.fingerprints))
    _keep(lab, beat.models, timezone.now())
    lab.models = _known(lab, lab.served)


def _keep(lab: Lab, models: Sequence[ModelDescriptor], now: datetime) -> None:
    for model in models:
        ServedModel.objects.update_or_create(
            lab=lab,
            fingerprint=model.fingerprint,
            defaults={"described": model.model_dump(mode="json"), "heard_at": now},
        )
    if models:
        kept = ServedModel.objects.filter(lab=lab)
        newest = kept.order_by("-heard_at", "-pk").values_list("pk", flat=True)
        surplus = list(newest[MOST_DESCRIPTIONS : 2 * MOST_DESCRIPTIONS])
        if surplus:
            kept.filter(pk__in=surplus).delete()


def _known(lab: Lab, served: Sequence[str]) -> list[Any]:
    found = ServedModel.objects.filter(lab=lab, fingerprint__in=served)
    by_print = dict(found.values_list("fingerprint", "described"))
    return _bounded(lab, [by_print[one] for one in served if one in by_print])


def _bounded(lab: Lab, models: list[Any]) -> list[Any]:
    left, offered = OFFER_BYTES, list[Any]()
    for model in models:
        left -= len(json.dumps(model, ensure_ascii=False).encode())
        if left < 0:
            beyond = len(models) - len(offered)
            limit.write(log.warning, "models_not_offered", lab=lab.name, count=beyond)
            break
        offered.append(model)
    return offered


def lab_views(labs: Iterable[Lab] | None = None) -> list[dict[str, Any]]:
    """Every confirmed lab that was ever heard, as the pages and the sockets show it."""
    now = timezone.now()
    shown = confirmed().filter(last_seen__isnull=False) if labs is None else labs
    return [
        {
            "lab": lab.name,
            "pool": lab.pool,
            "online": lab.online_at(now),
            "device": lab.device,
            "models": lab.models,
            "condition": lab.condition,
            "last_seen": (lab.last_seen or now).isoformat(),
        }
        for lab in shown
    ]
