"""Who is a lab of this site, and what those that are not can do."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone, translation

from messages import topology
from messages.lab import LabHeartbeat, LabModel, ModelDescriptor
from web.checks import database
from web.labs import catalogue, registry
from web.labs.heartbeats import lab_views, record_heartbeat, record_model
from web.labs.models import Lab
from web.labs.registry import MOST_STRANGERS, NotConfirmed
from web.reconciler.unclaimed import held, someone_online

pytestmark = pytest.mark.django_db(transaction=True)


def beat(lab: str = "lab1", pool: str = "lab", **more: Any) -> None:
    told = {"device": "cpu", "at": timezone.now(), **more}
    record_heartbeat(LabHeartbeat(lab=lab, pool=pool, **told))


def model(**more: Any) -> ModelDescriptor:
    usual = {"name": "brain", "version": "1", "sha256": "0" * 64, "roles": ("image",)}
    return ModelDescriptor(**{**usual, "labels": ("x",), "notice": "n", **more})


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "SITE", settings.SITE.model_copy(update={"var_dir": tmp_path}))
    return tmp_path / "labs"


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("lab", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_a_lab_that_is_known_by_heartbeat_alone_counts_for_nothing() -> None:
    one = uuid4()
    beat(models=(model(),), current=(one,))
    assert (registry.pool_of("lab1"), lab_views(), held()) == (None, [], set())
    assert not someone_online("lab")
    assert catalogue.models_on_offer()[0].version == ""
    assert [lab.name for lab in registry.strangers()] == ["lab1"]

    registry.confirm("lab1", "lab")
    # Only what it says from now on.
    assert (held(), lab_views()[0]["models"]) == (set(), [])
    beat(models=(model(),), current=(one,))
    assert held() == {("lab", one)}
    assert someone_online("lab")
    assert catalogue.models_on_offer() == [model()]


def test_strangers_fill_no_table() -> None:
    for number in range(MOST_STRANGERS + 20):
        beat(f"stranger{number}")
    registry.confirm("lab1", "lab")
    beat("lab1")
    assert Lab.objects.count() == MOST_STRANGERS + 1
    assert [lab["lab"] for lab in lab_views()] == ["lab1"]


def test_a_lab_that_names_another_pool_holds_and_offers_nothing_there_or_here() -> None:
    registry.confirm("lab1", "lab")
    beat(pool="server", models=(model(),), current=(uuid4(),))
    lab = Lab.objects.get()
    assert (lab.pool, lab.told_pool, lab.conflict) == ("lab", "server", True)
    assert held() == set()
    assert not catalogue.confirmed("server").exists()
    assert catalogue.models_on_offer()[0].version == ""


def test_a_lab_last_seen_in_the_future_is_not_online() -> None:
    registry.confirm("lab1", "lab")
    beat(current=(uuid4(),))
    assert Lab.objects.get().online
    # This machine's clock was an hour ahead then.
    Lab.objects.update(last_seen=timezone.now() + timedelta(hours=1))
    assert not Lab.objects.get().online
    assert not someone_online("lab")
    assert held() == set()


def test_a_models_description_comes_once_and_its_fingerprint_with_each_heartbeat() -> None:
    registry.confirm("lab1", "lab")
    old, new = model(version="1"), model(version="2")
    for one in (old, new):
        record_model(LabModel(lab="lab1", pool="lab", model=one, at=timezone.now()))
    assert lab_views(Lab.objects.all())[0]["models"] == []
    beat(fingerprints=(new.fingerprint,))
    assert catalogue.models_on_offer() == [new]
    # One that the site has not been told of yet is not on offer, and is once it has.
    third = model(version="3")
    beat(fingerprints=(third.fingerprint,))
    assert Lab.objects.get().models == []
    record_model(LabModel(lab="lab1", pool="lab", model=third, at=timezone.now()))
    assert catalogue.models_on_offer() == [third]
    # A lab of before says all of it each time.
    beat(models=(old,))
    assert catalogue.models_on_offer() == [old]


def test_a_zoo_with_a_segmentation_of_133_labels_is_on_offer() -> None:
    registry.confirm("lab1", "lab")
    labels = tuple(f"structure of the brain {number}" for number in range(133))
    zoo = [model(name="whole-brain", labels=labels)]
    zoo += [model(name=f"zoo{number}", notice="n" * 400) for number in range(30)]
    for one in zoo:
        record_model(LabModel(lab="lab1", pool="lab", model=one, at=timezone.now()))
    beat(fingerprints=tuple(one.fingerprint for one in zoo))
    assert len(catalogue.models_on_offer()) == 31


def test_labs_that_disagree_about_a_model_are_said_to_and_the_last_one_heard_does_not_win() -> None:
    approved = model(version="2", notice="Approved for clinical use")
    for name, described in (("lab1", model()), ("lab2", model()), ("lab3", approved)):
        registry.confirm(name, "lab")
        beat(name, models=(described,))
    (offer,) = catalogue.offers()
    assert offer.model == model()
    assert offer.differs == ("version", "notice")
    assert offer.disagreement == (
        "The labs of this pool describe this model differently: the version, the notice. Any of "
        "them may take the request; the result names the model that ran."
    )
    with translation.override("ko"):
        assert "버전, 안내문" in offer.disagreement
    registry.forget("lab3")
    assert catalogue.offers()[0].disagreement == ""


def test_a_lab_is_added_with_all_that_the_broker_needs_in_a_file_of_ones_own(
    own_folder: Path,
) -> None:
    told = said("add", "ward1", "--pool", "ward")
    file, setting = own_folder / "ward1.definitions.json", own_folder / "ward1.url"
    assert file.stat().st_mode & 0o777 == setting.stat().st_mode & 0o777 == 0o600
    definitions = json.loads(file.read_text())
    assert [user["name"] for user in definitions["users"]] == ["ward1"]
    assert definitions["permissions"] == [topology.lab_permissions("ward1", "ward")]
    password = setting.read_text().partition("ward1:")[2].partition("@")[0]
    assert len(password) > 30
    assert password not in told
    assert f"install -o root -g rabbitmq -m 640 {file} /etc/rabbitmq/labrelay-ward1.json" in told
    assert "rabbitmqctl import_definitions /etc/rabbitmq/labrelay-ward1.json" in told
    assert registry.pool_of("ward1") == "ward"
    assert "ward" in registry.pools()
    # Once more, and the password is still the lab's.
    said("add", "ward1", "--pool", "ward")
    assert password in setting.read_text()


def test_a_lab_whose_user_exists_keeps_its_password(own_folder: Path) -> None:
    told = said("add", "lab1", "--pool", "lab", "--keep-user")
    (file,) = own_folder.iterdir()
    assert "users" not in json.loads(file.read_text())
    assert "set_permissions -p mri lab1 '^$' '" in told
    # An old program stops at the new rights: not one block to copy.
    first, second = told.split("only once its program is the new one")
    assert "import_definitions" in first
    assert "_permissions" not in first
    assert "clear_topic_permissions -p mri lab1" in second
    assert "set_topic_permissions -p mri lab1 mri.events.lab '" in told
    assert "set_user_limits lab1 '{" in told


def test_a_lab_can_be_registered_alone_listed_and_taken_out(own_folder: Path) -> None:
    said("add", "lab1", "--pool", "lab", "--registered-only")
    assert not own_folder.exists()
    beat("stranger")
    listed = [line.split("\t")[:3] for line in said("list").splitlines()]
    assert listed == [["lab1", "lab", "offline"], ["stranger", "lab", "to be confirmed"]]
    assert json.loads(said("list", "--json"))[0]["name"] == "lab1"
    assert "delete_user lab1" in said("remove", "lab1")
    assert registry.pool_of("lab1") is None
    with pytest.raises(CommandError, match="no lab of that name"):
        said("remove", "lab1")


@pytest.mark.parametrize(
    ("name", "pool", "sentence"),
    [
        ("lab1", "30s", "a retry tier is"),
        ("lab1", "rules", "the requests of all rules"),
        ("lab1", "a.b", "small letters, digits"),
        ("Lab", "lab", "small letters, digits"),
        ("admin", "lab", "no lab"),
        ("web", "lab", "own user of the broker"),
    ],
)
def test_names_that_would_clash_are_refused_with_a_sentence(
    name: str, pool: str, sentence: str
) -> None:
    with pytest.raises(CommandError, match=sentence):
        said("add", name, "--pool", pool)
    assert not Lab.objects.exists()


def test_a_lab_moves_to_another_pool_only_by_hand() -> None:
    registry.confirm("lab1", "lab")
    with pytest.raises(NotConfirmed, match="belongs to the pool lab"):
        registry.confirm("lab1", "server")


def test_the_check_names_strangers_conflicts_and_clocks_as_things_to_mend() -> None:
    lines = [str(line) for line in database._labs()]
    assert [line[0] for line in lines] == ["!"]
    registry.confirm("lab1", "lab")
    beat(at=timezone.now() - timedelta(seconds=45))
    beat("stranger")
    lines = [str(line) for line in database._labs()]
    assert lines[0] == "✓ labs: lab1 (lab) online"
    assert lines[1].startswith("✗ labs: the clock of lab1 is 45 s behind this site's")
    assert lines[2].startswith("! labs: stranger asks to be let in, for the pool lab")
    # An offline lab is no tick.
    Lab.objects.update(last_seen=timezone.now() - timedelta(minutes=5))
    assert str(next(iter(database._labs()))).startswith("! labs: lab1 (lab) not heard for")
