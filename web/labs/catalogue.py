"""Which models a reader can ask for."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from pydantic import TypeAdapter

from messages.lab import ModelDescriptor
from messages.phases import DCE_ROLES
from web.labs.models import Lab

_MODELS = TypeAdapter(tuple[ModelDescriptor, ...])


def models_on_offer(pool: str | None = None) -> list[ModelDescriptor]:
    """The models of a pool, each as the lab heard of last describes it.

    Without a name it is the pool that requests go to. Labs that are offline count, since requests
    wait for them; one that has been silent for as long as a request may wait does not. While no
    lab is left, the default model is offered with the four roles of a breast DCE-MRI.
    """
    since = timezone.now() - timedelta(seconds=settings.SITE.request_expires_seconds)
    labs = Lab.objects.filter(pool=pool or settings.SITE.pool, last_seen__gt=since)
    labs = labs.order_by("-last_seen")
    found: dict[str, ModelDescriptor] = {}
    for lab in labs:
        for model in _MODELS.validate_python(lab.models):
            found.setdefault(model.name, model)
    default = settings.SITE.default_model
    if not found:
        return [_unseen(default)]
    return sorted(found.values(), key=lambda model: (model.name != default, model.name))


def model_on_offer(name: str | None, pool: str | None = None) -> ModelDescriptor | None:
    """The model of that name; without a name the default one, or else the first on offer."""
    offered = models_on_offer(pool)
    if name is None:
        return offered[0]
    return next((model for model in offered if model.name == name), None)


def _unseen(name: str) -> ModelDescriptor:
    return ModelDescriptor(
        name=name, version="", sha256="0" * 64, roles=DCE_ROLES, labels=("lesion",), notice=""
    )
