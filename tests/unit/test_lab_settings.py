"""Settings of a lab: a wrong one stops the start with a sentence that holds no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer import settings
from consumer.settings import SettingsInvalid

GOOD = {
    "RABBITMQ_URL": "amqp://lab1:s3cret@127.0.0.1:5673/mri",
    "ORTHANC_URL": "http://127.0.0.1:8043",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in settings.LabSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_lab_is_named_after_its_broker_user(environment: pytest.MonkeyPatch) -> None:
    loaded = settings.load()
    assert loaded.lab_name == loaded.broker_user == "lab1"
    assert loaded.amqp_heartbeat == 12
    environment.setenv("LAB_NAME", "gpu-2")
    assert settings.load().lab_name == "gpu-2"


def test_several_brokers_are_tried_in_turn(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RABBITMQ_URL", "amqp://lab1:x@a/mri, amqp://lab1:x@b/mri")
    assert [url[-5:] for url in settings.load().broker_urls] == ["a/mri", "b/mri"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RABBITMQ_URL", None),
        ("RABBITMQ_URL", "http://lab1:s3cret@host/"),
        ("RABBITMQ_URL", "amqp://host/mri"),
        ("RABBITMQ_URL", "amqp://lab1:s3cret@host:port/mri"),
        ("RABBITMQ_URL", ","),
        ("RABBITMQ_URL", "amqp://lab1:s3cret@a/mri,amqp://lab2:s3cret@b/mri"),
        ("ORTHANC_URL", "orthanc:8042"),
        ("ORTHANC_URL", "http://user:s3cret@host:8042"),
        ("LAB_POOL", "nowhere"),
        ("LAB_NAME", "Lab One"),
        ("DEVICE", "gpu"),
        ("THRESHOLD", "1.5"),
        ("PREFETCH", "0"),
        ("AMQP_HEARTBEAT", "soon"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it_and_quotes_no_value(
    environment: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    environment.delenv(name, raising=False)
    if value is not None:
        environment.setenv(name, value)
    with pytest.raises(SettingsInvalid) as refusal:
        settings.load()
    sentence = str(refusal.value)
    assert name in sentence
    assert "\n" not in sentence
    assert "s3cret" not in sentence


def test_a_lab_lies_where_it_is_told_else_where_systemd_says(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("RUNTIME_DIRECTORY", "/run/labrelay:/run/more")
    assert settings.load().run_dir == Path("/run/labrelay")
    environment.setenv("RUN_DIR", "/run/other")
    assert settings.load().run_dir == Path("/run/other")
    environment.delenv("RUN_DIR")
    environment.delenv("RUNTIME_DIRECTORY")
    assert settings.load().run_dir.is_dir()
