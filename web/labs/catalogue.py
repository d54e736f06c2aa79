"""Which models a reader can ask for, and what the labs of a pool do not agree about."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from pydantic import TypeAdapter, ValidationError

from messages.lab import ModelDescriptor
from messages.phases import DCE_ROLES
from web.labs.registry import confirmed, without_words

_MODELS = TypeAdapter(tuple[ModelDescriptor, ...])

#: What labs can describe differently, in a reader's words.
_PARTS = {
    "version": gettext_lazy("the version"),
    "sha256": gettext_lazy("the files"),
    "notice": gettext_lazy("the notice"),
    "roles": gettext_lazy("the images it takes"),
    "labels": gettext_lazy("what it marks"),
}


@dataclass(frozen=True)
class Offer:
    """A model of a pool, and the fields that its labs describe differently."""

    model: ModelDescriptor
    differs: tuple[str, ...] = ()

    @property
    def disagreement(self) -> str:
        """That the labs differ and in what, as a sentence; empty where they agree."""
        if not self.differs:
            return ""
        parts = ", ".join(str(_PARTS[one]) for one in self.differs)
        sentence = _(
            "The labs of this pool describe this model differently: %(parts)s. Any of them may "
            "take the request; the result names the model that ran."
        )
        return sentence % {"parts": parts}


def offers(pool: str | None = None) -> list[Offer]:
    """The models of a pool with what its labs do not agree about.

    Without a name it is the pool that requests go to. Labs that are offline count, since requests
    wait for them; one that has been silent for as long as a request may wait does not. While no
    lab is left, the default model is offered with the four roles of a breast DCE-MRI.

    A lab that was not heard since staff let it in counts with the names and inputs of the models
    that it had before (`registry.undescribed`).

    Of several descriptions the one that most labs give is shown, of as many that of the lab whose
    name comes first: never that of whoever has spoken last.
    """
    since = timezone.now() - timedelta(seconds=settings.SITE.request_expires_seconds)
    found: dict[str, list[ModelDescriptor]] = {}
    for lab in confirmed(pool or settings.SITE.pool).filter(last_seen__gt=since).order_by("name"):
        for model in _described(lab.models):
            found.setdefault(model.name, []).append(model)
    default = settings.SITE.default_model
    if not found:
        return [Offer(without_words(default, DCE_ROLES))]
    names = sorted(found, key=lambda name: (name != default, name))
    return [_offer(found[name]) for name in names]


def models_on_offer(pool: str | None = None) -> list[ModelDescriptor]:
    """The models of a pool, each as most of its labs describe it; as `offers`."""
    return [offer.model for offer in offers(pool)]


def model_on_offer(name: str | None, pool: str | None = None) -> ModelDescriptor | None:
    """The model of that name; without a name the default one, or else the first on offer."""
    offered = models_on_offer(pool)
    if name is None:
        return offered[0]
    return next((model for model in offered if model.name == name), None)


def _described(models: object) -> tuple[ModelDescriptor, ...]:
    try:
        return _MODELS.validate_python(models)
    except ValidationError:
        # Written by another version, or by hand: it must not take the others' models away.
        return ()


def _offer(told: list[ModelDescriptor]) -> Offer:
    # Of a lab that was not heard since it was let in only names are known: it contradicts nobody.
    described = [model for model in told if model.version] or told
    often = Counter(model.fingerprint for model in described)
    # `max` keeps the first of equals, and they come in the order of the labs' names.
    chosen = max(described, key=lambda model: often[model.fingerprint])
    differs = tuple(
        part for part in _PARTS if len({str(getattr(model, part)) for model in described}) > 1
    )
    return Offer(chosen, differs)
