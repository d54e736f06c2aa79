"""What is read of a series: few calls, and no tag of a stranger stops a page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages.phases import Unclear
from messages.phases.frames import frames_of, point
from messages.request import PhaseSelector
from web.orthanc.archive import Orthanc
from web.orthanc.connection import MAX_TAGS_BYTES
from web.orthanc.errors import (
    ArchiveUnavailable,
    NotLookedInto,
    PhaseNotFound,
    SeriesChanged,
    UnusableAnswer,
)
from web.orthanc.tags import Tags
from web.orthanc.time_budget import seconds_left, within
from web.phases.images import MAX_IMAGES, images_of
from web.phases.phase_names import PhaseName, phase_named
from web.phases.samples import MAX_AT_ONE_POSITION
from web.phases.series_facts import read_series
from web.phases.stack import read_stack, stack_of

SERIES = "-".join(["0123abcd"] * 5)

AXIAL = "1\\0\\0\\0\\1\\0"


def instance_id(number: int) -> str:
    return "-".join([f"{number:08x}"] * 5)


def instance(number: int, place: float | None, **tags: str) -> dict[str, Any]:
    """An instance as Orthanc 1.10 describes it."""
    main = {"SOPInstanceUID": f"1.2.{number}", "InstanceNumber": str(number), **tags}
    if place is not None:
        main |= {"ImagePositionPatient": f"-40\\12.5\\{place}", "ImageOrientationPatient": AXIAL}
    return {"ID": instance_id(number), "MainDicomTags": main}


#: What the file of a classic MR image says beyond that.
TAGS = {
    "Rows": "8",
    "Columns": "10",
    "PixelSpacing": "0.8\\0.6",
    "FrameOfReferenceUID": "1.2.3",
    "StudyDate": "20260102",
    "AcquisitionDate": "20260102",
    "AcquisitionTime": "101500",
    "ImageType": "ORIGINAL\\PRIMARY",
    "EchoTime": "2",
}


class Archive:
    """One MR series: instances, and the tags of their files."""

    def __init__(
        self, instances: list[dict[str, Any]], tags: Callable[[int], object] = lambda _: TAGS
    ) -> None:
        self.instances = instances
        self.tags = tags
        #: In place of the tags of all instances in one answer.
        self.together: httpx.Response | None = None
        self.asked: list[str] = []
        self.orthanc = Orthanc(
            "http://a.invalid", "u", "p", transport=httpx.MockTransport(self.answer)
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        level, one, *tail = request.url.path.strip("/").split("/")
        self.asked.append("/".join([level, *tail]))
        match level, tail:
            case "series", ["instances"]:
                return httpx.Response(200, json=self.instances)
            case "series", ["instances-tags"] if self.together:
                return self.together
            case "series", ["instances-tags"]:
                numbers = [int(item["MainDicomTags"]["InstanceNumber"]) for item in self.instances]
                return httpx.Response(200, json={instance_id(n): self.tags(n) for n in numbers})
            case "series", []:
                return httpx.Response(200, json=self.item() | {"ParentStudy": SERIES})
        found = self.tags(int(one[:8], 16))
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    def item(self, modality: str = "MR") -> dict[str, Any]:
        """The series as Orthanc describes it."""
        return {
            "ID": SERIES,
            "LastUpdate": "20260102T101500",
            "Instances": [one["ID"] for one in self.instances],
            "MainDicomTags": {"Modality": modality, "SeriesDescription": "DCE"},
        }


def four_phases(**counted: str) -> list[dict[str, Any]]:
    """Three slices in four phases, slice by slice; `counted` are keywords that count the phases."""
    return [
        instance(1 + 4 * at + phase, 2.5 * at, **dict.fromkeys(counted, str(phase + 1)))
        for at in range(3)
        for phase in range(4)
    ]


def test_phases_that_the_database_tells_apart_take_one_call_each_and_one():
    def tags(number: int) -> dict[str, str]:
        return TAGS | {"AcquisitionTime": f"101{5 + (number - 1) % 4}00"}

    archive = Archive(four_phases(TemporalPositionIdentifier=""), tags)
    facts = read_series(archive.orthanc, archive.item()).facts

    assert archive.asked == ["series/instances", *["instances/simplified-tags"] * 4]
    assert [(phase.keyword, phase.value) for phase in facts.phases] == [
        ("TemporalPositionIdentifier", str(number)) for number in (1, 2, 3, 4)
    ]
    assert [phase.acquired_at_s for phase in facts.phases] == [
        36_900 + 60 * number for number in range(4)
    ]
    grid = facts.phases[0].grid
    assert grid is not None
    assert (grid.rows, grid.columns, grid.slices, grid.pixel_spacing) == (8, 10, 3, (0.8, 0.6))
    assert {grid.first, grid.last} == {(-40.0, 12.5, 0.0), (-40.0, 12.5, 5.0)}
    assert facts.scan == {"EchoTime": "2"}

    assert read_series(archive.orthanc, archive.item()).facts == facts
    assert len(archive.asked) == 5


def test_phases_that_only_files_tell_apart_are_sampled_at_three_positions():
    def tags(number: int) -> dict[str, str]:
        return TAGS | {"TriggerTime": str(90_000 * ((number - 1) % 4))}

    # Five positions of which three are looked at.
    instances = [instance(1 + 4 * at + phase, 2.5 * at) for at in range(5) for phase in range(4)]
    archive = Archive(instances, tags)
    facts = read_series(archive.orthanc, archive.item()).facts

    assert [(phase.keyword, phase.value) for phase in facts.phases] == [
        ("TriggerTime", str(90_000 * number)) for number in range(4)
    ]
    assert [phase.image_count for phase in facts.phases] == [5] * 4
    assert [phase.acquired_at_s for phase in facts.phases] == [
        36_900 + 90 * number for number in range(4)
    ]
    assert len(archive.asked) == 1 + 12


def test_a_keyword_that_differs_between_positions_tells_nothing():
    # A time for each image, as a scan in two dimensions writes it.
    archive = Archive(four_phases(), lambda number: TAGS | {"ContentTime": f"1015{number:02}"})
    facts = read_series(archive.orthanc, archive.item()).facts

    assert facts.unclear is Unclear.NOT_SEPARABLE
    assert facts.phases == ()


def test_a_run_that_was_stopped_is_told_without_reading_files():
    archive = Archive(four_phases(AcquisitionNumber="")[:-1])
    facts = read_series(archive.orthanc, archive.item()).facts

    assert facts.unclear is Unclear.INCOMPLETE_PHASE
    # One image, for what kind of scan it is.
    assert archive.asked == ["series/instances", "instances/simplified-tags"]


def test_of_another_modality_nothing_is_asked():
    archive = Archive([instance(1, None, NumberOfFrames="40")])
    read = read_series(archive.orthanc, archive.item("SEG"))

    assert archive.asked == []
    assert (read.facts.modality, read.facts.phases, read.image_count) == ("SEG", (), 1)


def frame(at: float, phase: int) -> dict[str, Any]:
    return {
        "PlanePositionSequence": [{"ImagePositionPatient": f"0\\0\\{at}"}],
        "FrameContentSequence": [
            {
                "TemporalPositionIndex": str(phase),
                "FrameAcquisitionDateTime": f"2026010210{phase:02}00.5+0900",
            }
        ],
    }


def enhanced(frames: list[dict[str, Any]]) -> dict[str, Any]:
    shared = {
        "PlaneOrientationSequence": [{"ImageOrientationPatient": AXIAL}],
        "PixelMeasuresSequence": [{"PixelSpacing": "0.8\\0.6"}],
    }
    return TAGS | {
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": frames,
    }


def test_the_frames_of_an_enhanced_object_are_read_with_one_call():
    frames = [frame(2.5 * at, phase) for at in range(3) for phase in (1, 2, 3, 4)]
    archive = Archive([instance(1, None, NumberOfFrames="12")], lambda _: enhanced(frames))
    read = read_series(archive.orthanc, archive.item())

    assert read.image_count == 12
    assert [(phase.keyword, phase.value) for phase in read.facts.phases] == [
        ("TemporalPositionIndex", str(number)) for number in (1, 2, 3, 4)
    ]
    assert [phase.acquired_at_s for phase in read.facts.phases] == [
        36_000.5 + 60 * number for number in (1, 2, 3, 4)
    ]
    grid = read.facts.phases[3].grid
    assert grid is not None
    assert (grid.slices, grid.pixel_spacing) == (3, (0.8, 0.6))
    assert archive.asked == ["series/instances", "instances/simplified-tags"]

    phase = PhaseSelector(keyword="TemporalPositionIndex", value="3")
    shown = read_stack(archive.orthanc, SERIES, phase)
    assert [image.frame for image in shown.slices] == [2, 6, 10]
    assert shown.at(1).address == "/frames/6"


JSON = st.recursive(
    st.none() | st.text(max_size=8) | st.integers() | st.floats(allow_nan=True),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["FrameContentSequence", "PlanePositionSequence", "ImagePositionPatient", "x"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(per_frame=JSON, shared=JSON, count=st.integers(1, 6))
def test_whatever_functional_groups_hold_there_are_as_many_frames(per_frame, shared, count):
    tags = {
        "PerFrameFunctionalGroupsSequence": per_frame,
        "SharedFunctionalGroupsSequence": shared,
        "AcquisitionDateTime": per_frame,
    }
    found = frames_of(tags, count)

    assert len(found) == count
    for one in found:
        assert one.position is None or all(map(math.isfinite, one.position))


@pytest.mark.parametrize(
    "text",
    ["nan\\0\\0", "0\\inf\\0", "0\\0", "", "x\\y\\z", "1e999\\0\\0", "1e308\\0\\0", "0\\-2e6\\0"],
)
def test_a_place_that_is_none_is_absent(text):
    assert point(text) is None


@pytest.mark.parametrize(
    "tags",
    [
        [],
        {},
        dict.fromkeys(TAGS, "\\"),
        {name: ["x"] for name in TAGS},
        TAGS | {"PixelSpacing": "nan\\inf", "Rows": "9" * 40},
        httpx.Response(400),
        httpx.Response(404),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, text='{"x":' + "[" * 100_000),
        httpx.Response(200, content=json.dumps(TAGS).encode() + b" " * MAX_TAGS_BYTES),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tags_that_cannot_be_read_are_absent(tags):
    archive = Archive(four_phases(AcquisitionNumber=""), lambda _: tags)
    facts = read_series(archive.orthanc, archive.item()).facts

    assert len(facts.phases) == 4
    assert {phase.grid for phase in facts.phases} == {None}


@pytest.mark.parametrize("place", ["1e308\\0\\0", "0\\0\\-1e308", "1e6\\1e6\\1e6"])
def test_one_absurd_place_stops_no_page(place):
    instances = four_phases(AcquisitionNumber="")
    instances[5]["MainDicomTags"]["ImagePositionPatient"] = place
    archive = Archive(instances)

    assert read_series(archive.orthanc, archive.item()).facts.unclear


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("ImageType", ["DERIVED\\PRIMARY\\DIXON\\WATER", "DERIVED\\PRIMARY\\DIXON\\FAT"]),
        ("EchoTime", ["1.2", "2.4"]),
    ],
)
def test_images_of_several_kinds_at_one_place_are_no_phases(name, kinds):
    """The first part alone does not tell: the tags of every one are compared."""

    def tags(number: int) -> dict[str, str]:
        part = (number - 1) % 4
        return TAGS | {name: kinds[part == 3], "ContentTime": f"10150{part}"}

    archive = Archive(four_phases(AcquisitionNumber=""), tags)
    facts = read_series(archive.orthanc, archive.item()).facts

    assert (facts.unclear, facts.phases) == (Unclear.SEVERAL_KINDS, ())


def test_frames_of_several_kinds_at_one_place_are_no_phases():
    frames = []
    for at in range(3):
        for part, kind in enumerate(("WATER", "WATER", "WATER", "FAT"), 1):
            one = frame(2.5 * at, part)
            one["MRImageFrameTypeSequence"] = [{"FrameType": f"ORIGINAL\\PRIMARY\\DIXON\\{kind}"}]
            frames.append(one)
    archive = Archive([instance(1, None, NumberOfFrames="12")], lambda _: enhanced(frames))
    facts = read_series(archive.orthanc, archive.item()).facts

    assert (facts.unclear, facts.image_count) == (Unclear.SEVERAL_KINDS, 12)


def differing_elsewhere(number: int) -> dict[str, str]:
    """TriggerTime tells the phases apart at the places that are looked at, at no other."""
    place, phase = divmod(number - 1, 4)
    return TAGS | {"TriggerTime": str(90_000 * phase if place in (0, 2, 4) else number)}


def test_what_only_some_files_say_is_not_offered_again_once_all_were_read():
    instances = [instance(1 + 4 * at + phase, 2.5 * at) for at in range(5) for phase in range(4)]
    archive = Archive(instances, differing_elsewhere)
    offered = read_series(archive.orthanc, archive.item()).facts.phases
    assert [phase.image_count for phase in offered] == [5] * 4

    chosen = PhaseSelector(keyword=offered[1].keyword, value=offered[1].value)
    with pytest.raises(SeriesChanged):
        stack_of(SERIES, SERIES, 5, phase=chosen, orthanc=archive.orthanc)

    facts = read_series(archive.orthanc, archive.item()).facts
    assert (facts.unclear, facts.phases) == (Unclear.NOT_SEPARABLE, ())


def test_a_made_up_name_of_a_phase_spoils_nothing():
    archive = Archive(
        four_phases(), lambda number: TAGS | {"TriggerTime": f"{90_000 * ((number - 1) % 4)}"}
    )
    for keyword in ("ContentTime", "EchoTime", "PatientID"):
        with pytest.raises(PhaseNotFound):
            read_stack(archive.orthanc, SERIES, PhaseSelector(keyword=keyword, value="7"))

    assert len(read_series(archive.orthanc, archive.item()).facts.phases) == 4


def test_a_phase_is_shown_also_where_the_tags_of_its_series_are_too_long_for_one_answer():
    archive = Archive(
        four_phases(), lambda number: TAGS | {"TriggerTime": f"{90_000 * ((number - 1) % 4)}"}
    )
    archive.together = httpx.Response(200, content=b" " * (MAX_TAGS_BYTES + 1))
    stack = read_stack(archive.orthanc, SERIES, PhaseSelector(keyword="TriggerTime", value="90000"))

    assert [image.number for image in stack.slices] == [2, 6, 10]
    assert archive.asked.count("instances/simplified-tags") == 12
    # They are many, and never change.
    read_stack(archive.orthanc, SERIES, PhaseSelector(keyword="TriggerTime", value="0"))
    assert archive.asked.count("instances/simplified-tags") == 12


def test_no_more_is_read_of_one_series_than_a_process_can_hold():
    long = httpx.Response(200, content=json.dumps(TAGS).encode() + b" " * (MAX_TAGS_BYTES // 2))
    archive = Archive(four_phases(AcquisitionNumber=""), lambda _: long)
    facts = read_series(archive.orthanc, archive.item()).facts

    assert [phase.grid is None for phase in facts.phases] == [False, False, False, True]


def test_only_what_a_page_needs_is_kept_of_the_tags_of_an_object():
    archive = Archive([], lambda _: TAGS | {"PatientName": "Hong", "ScanOptions": "x" * 5000})
    kept = Tags(archive.orthanc).of(SERIES)

    assert kept.keys() == TAGS.keys()


def test_an_archive_that_answers_slowly_ends_in_one_deadline_for_the_page():
    archive = Archive(four_phases(AcquisitionNumber=""))
    with within(60), within(0.0), pytest.raises(ArchiveUnavailable):
        read_series(archive.orthanc, archive.item())
    assert archive.asked == []
    # It is over with the page.
    assert len(read_series(archive.orthanc, archive.item()).facts.phases) == 4


def test_an_answer_that_never_ends_is_not_waited_for_longer_than_the_page_waits():
    def trickle() -> Iterator[bytes]:
        while True:
            yield b" "

    answer = httpx.MockTransport(lambda _: httpx.Response(200, content=trickle()))
    orthanc = Orthanc("http://a.invalid", "u", "p", transport=answer)
    with within(0.2), pytest.raises(ArchiveUnavailable):
        orthanc.json("series", SERIES)


def test_an_archive_that_goes_away_is_no_absent_tag():
    archive = Archive(four_phases(AcquisitionNumber=""), lambda _: httpx.Response(503))

    with pytest.raises(ArchiveUnavailable):
        read_series(archive.orthanc, archive.item())


@pytest.mark.parametrize("frames", ["999999999999", str(MAX_IMAGES + 1), "-3", "x", "0"])
def test_a_header_that_lies_about_its_frames_is_one_image(frames):
    archive = Archive([instance(1, None, NumberOfFrames=frames)])

    assert len(images_of(archive.orthanc, SERIES, multi_frame=True)) == 1
    assert archive.asked == ["series/instances"]


def one_for_each_time_point(count: int, frames: str = "3") -> list[dict[str, Any]]:
    """Multi-frame objects as an archive lists them."""
    return [
        instance(n, None, NumberOfFrames=frames) | {"FileUuid": f"file {n}"}
        for n in range(1, count + 1)
    ]


def time_point(number: int) -> dict[str, Any]:
    """What the object of a time point says: three slices."""
    return enhanced([frame(2.5 * place, number) for place in range(3)])


def test_an_object_for_each_of_many_time_points_is_read_once_and_shown():
    archive = Archive(one_for_each_time_point(40), time_point)
    facts = read_series(archive.orthanc, archive.item()).facts

    assert [phase.value for phase in facts.phases] == [str(n) for n in range(1, 41)]
    assert {phase.keyword for phase in facts.phases} == {"TemporalPositionIndex"}
    assert {(phase.image_count, phase.grid is None) for phase in facts.phases} == {(3, False)}
    assert archive.asked.count("instances/simplified-tags") == 40

    seventeenth = PhaseSelector(keyword="TemporalPositionIndex", value="17")
    stack = read_stack(archive.orthanc, SERIES, seventeenth)
    assert [(image.number, image.frame) for image in stack.slices] == [(17, n) for n in range(3)]
    assert archive.asked.count("instances/simplified-tags") == 40

    # Deleted and stored again under the same UID: another file.
    archive.instances[4]["FileUuid"] = "another file"
    read_stack(archive.orthanc, SERIES, seventeenth)
    assert archive.asked.count("instances/simplified-tags") == 41


def test_of_more_images_than_are_looked_into_none_is_said_to_lack_anything():
    archive = Archive(one_for_each_time_point(2, str(MAX_IMAGES // 2 + 1)))
    facts = read_series(archive.orthanc, archive.item()).facts

    assert (facts.unclear, facts.phases) == (Unclear.TOO_MANY_IMAGES, ())
    # One, for what the series is.
    assert archive.asked == ["series/instances", "instances/simplified-tags"]
    with pytest.raises(NotLookedInto):
        read_stack(
            archive.orthanc, SERIES, PhaseSelector(keyword="TemporalPositionIndex", value="1")
        )


def test_objects_that_say_too_much_are_not_said_to_lack_their_place():
    long = httpx.Response(200, content=json.dumps(TAGS).encode() + b" " * MAX_TAGS_BYTES)
    archive = Archive(
        one_for_each_time_point(6), lambda number: long if number > 2 else time_point(number)
    )
    facts = read_series(archive.orthanc, archive.item()).facts

    assert facts.unclear is Unclear.TOO_LONG
    # The bytes of a series are used up with the second of the long ones.
    assert archive.asked.count("instances/simplified-tags") == 4


def test_objects_that_come_too_slowly_leave_the_page_time_and_are_read_on_with_the_next_one():
    def slowly(number: int) -> dict[str, Any]:
        # Until the share of a series is used up.
        while (left := seconds_left()) is not None and left > 0.4:
            pass
        return time_point(number)

    archive = Archive(one_for_each_time_point(20), slowly)
    with within(1.0):
        facts = read_series(archive.orthanc, archive.item()).facts
        assert (seconds_left() or 0) > 0
    assert (facts.unclear, facts.phases) == (Unclear.TOO_SLOW, ())
    assert archive.asked.count("instances/simplified-tags") == 1

    assert len(read_series(archive.orthanc, archive.item()).facts.phases) == 20
    assert archive.asked.count("instances/simplified-tags") == 20


def test_of_many_images_at_one_place_it_is_not_said_that_nothing_tells_them_apart():
    many = [instance(n + 1, 2.5 * (n % 2)) for n in range(2 * (MAX_AT_ONE_POSITION + 1))]
    archive = Archive(many, lambda number: TAGS | {"TriggerTime": str(number // 2)})
    facts = read_series(archive.orthanc, archive.item()).facts

    assert (facts.unclear, facts.phases) == (Unclear.TOO_MANY_AT_ONE_PLACE, ())


def test_the_number_of_an_image_is_the_last_resort_and_only_where_the_series_counts_phases():
    numbered = TAGS | {"NumberOfTemporalPositions": "4"}
    timed = {n: numbered | {"TriggerTime": f"{90_000 * ((n - 1) % 4)}"} for n in range(1, 13)}
    for tags, found in (
        (lambda _: numbered, [("InstanceNumber", f"{n}:4") for n in range(1, 5)]),
        (timed.__getitem__, [("TriggerTime", str(90_000 * n)) for n in range(4)]),
        (lambda _: TAGS, []),
    ):
        archive = Archive(four_phases(), tags)
        phases = read_series(archive.orthanc, archive.item()).facts.phases
        assert [(phase.keyword, phase.value) for phase in phases] == found

    archive = Archive(four_phases(), lambda _: numbered)
    third = read_stack(
        archive.orthanc, SERIES, PhaseSelector(keyword="InstanceNumber", value="3:4")
    )
    assert [image.number for image in third.slices] == [3, 7, 11]
    # No file is read for that.
    assert archive.asked == ["series", "series/instances"]
    for value in ("3:5", "5:4", "3", "03:4"):
        with pytest.raises(PhaseNotFound):
            read_stack(
                archive.orthanc, SERIES, PhaseSelector(keyword="InstanceNumber", value=value)
            )


def test_a_phase_that_only_files_tell_is_shown_after_one_call_for_all_of_them():
    archive = Archive(
        four_phases(), lambda number: TAGS | {"TriggerTime": f"{90_000 * ((number - 1) % 4)}.0"}
    )
    stack = read_stack(archive.orthanc, SERIES, PhaseSelector(keyword="TriggerTime", value="90000"))

    assert [image.number for image in stack.slices] == [2, 6, 10]
    assert archive.asked == ["series", "series/instances", "series/instances-tags"]
    with pytest.raises(PhaseNotFound):
        read_stack(archive.orthanc, SERIES, PhaseSelector(keyword="TriggerTime", value="1"))


def test_the_name_of_a_phase_is_read_back_as_it_was_written():
    for name in (
        PhaseName(SERIES),
        PhaseName(SERIES, PhaseSelector(keyword="AcquisitionTime", value="10:15:00.5")),
        PhaseName(SERIES, PhaseSelector(keyword="TriggerTime", value="+1.5")),
    ):
        assert phase_named(str(name)) == name


@pytest.mark.parametrize("text", ["a:b", "a:b:", "a::1", "a:b:../1", "a:b c:1", "a:b:" + "1" * 33])
def test_what_is_no_name_of_a_phase_is_not_found(text):
    with pytest.raises(PhaseNotFound):
        phase_named(text)


def test_the_text_of_a_tag_is_not_quoted_in_an_error():
    archive = Archive([], lambda _: httpx.Response(200, text=json.dumps("Hong^Gildong") + "x"))
    with pytest.raises(UnusableAnswer) as caught:
        archive.orthanc.tags(SERIES)

    assert "Hong" not in str(caught.value)
    assert caught.value.__cause__ is None
