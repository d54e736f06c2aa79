"""Settings of a lab: a wrong one stops the start with a sentence that holds no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer import bootstrap, settings
from consumer.checks import room
from consumer.sandbox.confinement import ReaderLimits
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


def test_the_limits_of_an_input_reach_the_parts_that_hold_them(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("MAX_SERIES_BYTES", "1001")
    environment.setenv("MAX_SERIES_INSTANCES", "1002")
    environment.setenv("MAX_VOLUME_BYTES", "1003")
    environment.setenv("MAX_READER_BYTES", "300000000")
    loaded = settings.load()
    archive = bootstrap.archive_of(loaded)
    assert (archive._max_series_bytes, archive._max_series_instances) == (1001, 1002)
    with bootstrap.workbench(loaded) as bench:
        assert bench._limits.reader == ReaderLimits(memory_bytes=300000000, volume_bytes=1003)


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
        ("MAX_SERIES_BYTES", "0"),
        ("MAX_SERIES_INSTANCES", "0"),
        ("MAX_VOLUME_BYTES", "4 GiB"),
        ("MAX_READER_BYTES", "1000000"),
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


def test_the_checklist_says_where_the_limits_let_in_more_than_the_machine_holds(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (("REQUEST", 10), ("VOLUME", 20), ("READER", 300_000_000)):
        environment.setenv(f"MAX_{name}_BYTES", str(value))
    loaded = settings.load()
    assert room.largest_request(loaded) == 300_000_050

    def said(largest: int) -> str:
        lines = room.check(tmp_path, largest=largest, memory=0, disk=0)
        return next(str(line) for line in lines if line.noun == "largest request")

    assert "fix" not in said(300_000_050)
    assert "lower MAX_REQUEST_BYTES" in said(2**60)
