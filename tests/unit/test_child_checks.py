"""What `mri-consumer check` says of the walls around the lab's children."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from consumer.checks.children import check, lines
from consumer.checks.line import State
from consumer.sandbox.kernel import keep_memory_private
from consumer.sandbox.self_check import SandboxReport
from consumer.settings import SettingsInvalid, child_environment, load_analysis

#: All that a kernel of these years has.
TIGHT = SandboxReport(
    environment=("HOME", "PATH"),
    no_new_privileges=True,
    capabilities=0,
    network=(),
    readable=(),
    settings=(),
    signals=False,
    kept=True,
    landlock=7,
)


def test_each_wall_has_a_tick_where_it_holds() -> None:
    assert {line.state for line in lines(TIGHT, TIGHT)} == {State.OK}
    assert len(list(lines(TIGHT, TIGHT))) == 7


@pytest.mark.parametrize(
    ("noun", "broken", "named"),
    [
        ("children's environment", {"environment": ("ORTHANC_PASSWORD",)}, "ORTHANC_PASSWORD"),
        ("children's rights", {"no_new_privileges": False}, "no_new_privs"),
        ("children's rights", {"capabilities": 1}, "capabilities"),
        ("children's network", {"network": ("AF_INET", "io_uring")}, "AF_INET, io_uring"),
        ("lab's memory", {"readable": ("/proc/lab/mem",)}, "/proc/lab/mem"),
        ("lab's memory", {"signals": True}, "end the lab"),
        ("lab's settings", {"settings": ("/etc/labrelay/lab.env",)}, "/etc/labrelay/lab.env"),
        ("children's processes", {"kept": False}, "outlive"),
    ],
)
@pytest.mark.parametrize("which", ["reader", "segmenter"])
def test_a_wall_that_does_not_hold_in_one_child_is_a_red_line_with_a_fix(
    noun: str, broken: dict[str, object], named: str, which: str
) -> None:
    open_ = replace(TIGHT, **broken)  # type: ignore[arg-type]
    seen = (open_, TIGHT) if which == "reader" else (TIGHT, open_)
    (red,) = (line for line in lines(*seen) if line.state is not State.OK)
    assert (red.state, red.noun) == (State.BAD, noun)
    assert named in red.text
    assert red.fix


def test_a_kernel_without_landlock_is_worth_knowing_and_no_fault() -> None:
    (line,) = (one for one in lines(TIGHT, replace(TIGHT, landlock=0)) if one.noun == "Landlock")
    assert line.state is State.SKIPPED


def test_the_walls_are_tried_and_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of settings that this user may read is found, and nothing else on this machine."""
    monkeypatch.setenv("ORTHANC_PASSWORD", "secret")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab.env").touch()
    keep_memory_private()
    found = {line.noun: line for line in check(load_analysis(orthanc_url="http://127.0.0.1:9"))}
    assert "lab.env" in found.pop("lab's settings").text
    assert {line.state for line in found.values()} <= {State.OK, State.SKIPPED}, found


def test_what_is_passed_on_is_a_list_and_no_credential_is_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {
        "RABBITMQ_URL": "amqp://lab1:secret@127.0.0.1/mri",
        "ORTHANC_PASSWORD": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "MONAI_API_KEY": "secret",
        "TORCH_TOKEN": "secret",
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "DATABASE_URL": "secret",
        "HTTPS_PROXY": "http://user:secret@proxy",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("MY_BUNDLE", "data")
    passed = child_environment("MY_BUNDLE")
    assert not set(passed) & set(given)
    assert passed["CUDA_VISIBLE_DEVICES"] == "1"
    assert passed["MY_BUNDLE"] == "data"
    assert "MY_BUNDLE" not in child_environment()


@pytest.mark.parametrize("name", ["ORTHANC_PASSWORD", "A,rabbitmq_url"])
def test_credentials_cannot_be_asked_for(name: str) -> None:
    with pytest.raises(SettingsInvalid, match="CHILD_ENVIRONMENT"):
        load_analysis(orthanc_url="http://127.0.0.1:9", child_environment=name)
