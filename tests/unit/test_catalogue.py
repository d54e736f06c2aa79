"""Which models are on offer: those of the pool's labs that may still come back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from messages.lab import LabHeartbeat, ModelDescriptor
from messages.phases import DCE_ROLES
from web.labs import registry
from web.labs.catalogue import model_on_offer, models_on_offer
from web.labs.heartbeats import record_heartbeat
from web.labs.models import Lab

pytestmark = pytest.mark.django_db


def heard(lab: str, model: str, *, pool: str = "lab", days_ago: float = 0.0) -> None:
    described = ModelDescriptor(
        name=model, version="1", sha256="0" * 64, roles=("image",), labels=("brain",), notice=""
    )
    registry.confirm(lab, pool)
    record_heartbeat(
        LabHeartbeat(lab=lab, pool=pool, device="cpu", models=(described,), at=timezone.now())
    )
    Lab.objects.filter(name=lab).update(last_seen=timezone.now() - timedelta(days=days_ago))


def names(**query: Any) -> list[str]:
    return [model.name for model in models_on_offer(**query)]


def test_until_a_lab_is_heard_of_the_default_model_is_offered() -> None:
    assert names() == ["breast_dce_phantom"]
    assert models_on_offer()[0].roles == DCE_ROLES


def test_a_lab_that_is_offline_counts_and_one_that_was_given_up_does_not() -> None:
    heard("lab1", "brain", days_ago=6.9)
    heard("lab2", "heart", days_ago=7.1)
    assert names() == ["brain"]


def test_each_pool_offers_its_own_models() -> None:
    heard("lab1", "brain")
    heard("server1", "heart", pool="server")
    assert names() == ["brain"]
    assert names(pool="server") == ["heart"]
    assert model_on_offer("heart") is None
    assert model_on_offer(None, "server") is not None
