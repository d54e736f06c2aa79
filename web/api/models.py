"""Models: what can be asked for."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from django.conf import settings
from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from messages.topology import POOLS
from web.api.errors import failing
from web.labs.catalogue import Offer, offers
from web.phases.proposal import notice_text, role_label

router = Router()

#: The pools that the topology has.
Pool = StrEnum("Pool", POOLS)  # type: ignore[misc]


class RoleView(Schema):
    """One input of a model."""

    role: str
    #: In the caller's language.
    label: str


class ModelView(Schema):
    """A model as its bundle describes it."""

    name: str
    #: Null as long as no lab has described it.
    version: str | None
    sha256: str | None
    #: In channel order.
    roles: list[RoleView]
    labels: list[str]
    #: What a reader must know before trusting a result.
    notice: str
    #: That the labs of the pool describe it differently, and in what; empty where they agree.
    disagreement: str


class ModelList(Schema):
    """The models of a pool; the first is taken when none is named."""

    pool: str
    models: list[ModelView]


@router.get("", response={200: ModelList, **failing(422)}, operation_id="list_models")
def models(
    request: HttpRequest,  # noqa: ARG001 - ninja's name
    pool: Annotated[
        Pool | None, Field(description="Without: the pool that requests go to.")
    ] = None,
) -> ModelList:
    """The models that can be asked for."""
    chosen = settings.SITE.pool if pool is None else pool.value
    return ModelList(pool=chosen, models=[_shown(offer) for offer in offers(chosen)])


def _shown(offer: Offer) -> ModelView:
    model = offer.model
    # What no lab has described has no version; its hash is a placeholder.
    described = bool(model.version)
    return ModelView(
        name=model.name,
        version=model.version if described else None,
        sha256=model.sha256 if described else None,
        roles=[RoleView(role=role, label=role_label(role)) for role in model.roles],
        labels=list(model.labels),
        notice=notice_text(model.notice),
        disagreement=offer.disagreement,
    )
