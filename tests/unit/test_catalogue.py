"""Which models are on offer: those of the pool's labs that may still come back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from messages.lab import LabHeartbeat, ModelDescriptor
from messages.phases import DCE_ROLES
from web.labs import registry
from web.labs.catalogue import model_on_offer, models_on_offer, offers
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


def off_during_an_upgrade(name: str, *models: Any) -> None:
    """A row as a version before has left it: nobody had confirmed the lab then."""
    Lab.objects.create(name=name, pool="lab", device="", models=list(models), current=[])
    Lab.objects.filter(name=name).update(last_seen=timezone.now() - timedelta(hours=1))
    registry.confirm(name, "lab")


def approved(name: str) -> dict[str, Any]:
    words = {"version": "9", "labels": ["Approved"], "notice": "Approved for clinical use"}
    return {"name": name, "sha256": "1" * 64, "roles": ["image"], **words}


def test_a_lab_that_is_off_during_an_upgrade_is_asked_for_its_models_and_its_words_are_not_shown():
    off_during_an_upgrade("lab1", approved("brain"))
    (model,) = models_on_offer()
    assert (model.name, model.roles) == ("brain", ("image",))
    assert (model.version, model.notice, model.labels) == ("", "", ("lesion",))


def test_what_a_lab_was_known_for_before_contradicts_no_lab_that_is_heard():
    off_during_an_upgrade("lab1", approved("brain"))
    heard("lab2", "brain")
    (offer,) = offers()
    assert (offer.model.version, offer.model.labels, offer.differs) == ("1", ("brain",), ())


def test_a_lab_is_let_in_whatever_a_version_before_has_kept_of_it():
    off_during_an_upgrade("lab1", "nonsense", {"name": "A B"}, {"name": "x", "roles": []}, 7)
    assert names() == ["breast_dce_phantom"]


def test_a_lab_that_is_given_to_another_pool_brings_no_models_there() -> None:
    Lab.objects.create(name="lab1", pool="lab", device="", models=[approved("brain")], current=[])
    registry.confirm("lab1", "server")
    assert Lab.objects.get().models == []
