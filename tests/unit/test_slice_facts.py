"""What the site reads of every slice: in one call, kept for a state, and within bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydicom.datadict import tag_for_keyword

from messages.phases import PhaseFacts
from messages.phases.agreement import AGREEMENT_KEYWORDS
from messages.phases.check import Fault, check_slices
from web.orthanc.archive import Orthanc
from web.orthanc.connection import MAX_TAGS_BYTES
from web.orthanc.time_budget import within
from web.phases.slice_facts import MAX_INSTANCES, slices_of

SERIES = "-".join(["0000abcd"] * 5)
WHOLE = PhaseFacts(image_count=6)

Answer = Callable[[dict[str, dict[str, str]]], httpx.Response]


def identifier(number: int) -> str:
    return "-".join([f"{number:08x}"] * 5)


class Archive:
    """An Orthanc with one series of axial slices, listed from head to foot."""

    def __init__(self, answer: Answer | None = None, count: int = 6) -> None:
        self.asked: list[str] = []
        self.answer = answer or (lambda tags: httpx.Response(200, json=tags))
        self.tags = {
            identifier(number): {
                "0008,0008": "ORIGINAL\\PRIMARY\\M",
                "0008,0022": "20260302",
                "0008,002a": f"20260302{101500 + number}",
                "0010,0010": "Not^Kept",
                "0018,0081": "2.1",
                "0020,0032": f"0\\0\\{-2.0 * number}",
                "0020,0037": "1\\0\\0\\0\\1\\0",
                "0028,1053": "1.5",
            }
            for number in range(count)
        }
        self.orthanc = Orthanc(
            "http://a.invalid", "u", "p", transport=httpx.MockTransport(self.handle)
        )

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.raw_path.decode().rpartition("/")[2])
        if request.url.path.endswith("/instances"):
            return httpx.Response(200, json=[*map(self.indexed, self.tags)])
        return self.answer(self.tags)

    def indexed(self, one: str) -> dict[str, Any]:
        return {"ID": one, "MainDicomTags": {"SOPInstanceUID": f"1.2.{int(one[:8], 16)}"}}


def test_one_call_reads_all_slices_in_their_order_along_the_normal() -> None:
    archive = Archive()
    archive.tags[identifier(1)]["0008,0008"] = "ORIGINAL\\PRIMARY\\P"
    read = slices_of(archive.orthanc, SERIES, "a", WHOLE)
    assert read is not None
    times = [one["AcquisitionTime"] for one in read.values]
    assert times == [str(101500 + number) for number in range(5, -1, -1)]
    assert {one.slope for one in read.stored} == {1.5}
    assert not any("Not^Kept" in one.values() for one in read.values)
    (concern,) = check_slices([read], ["image"])
    assert (concern.fault, concern.roles, concern.found) == (Fault.MIXED, ("image",), 5)
    assert concern.keyword == "ImageType"
    assert archive.asked == ["instances", "instances-tags?short"]


@pytest.mark.parametrize("keyword", AGREEMENT_KEYWORDS)
def test_every_attribute_that_is_compared_is_read(keyword: str) -> None:
    archive = Archive()
    number = tag_for_keyword(keyword)
    assert number is not None
    for tags in archive.tags.values():
        del tags["0008,002a"]
        tags[f"{number >> 16:04x},{number & 0xFFFF:04x}"] = "7"
    read = slices_of(archive.orthanc, SERIES, "a", WHOLE)
    assert read is not None
    assert {one[keyword] for one in read.values} == {"7"}


def test_it_is_kept_for_a_state_of_the_series_and_read_again_for_another() -> None:
    archive = Archive()
    for state, calls in (("a", 2), ("a", 2), ("b", 4)):
        assert slices_of(archive.orthanc, SERIES, state, WHOLE) is not None
        assert len(archive.asked) == calls


def test_the_slices_of_one_phase_are_those_with_its_value() -> None:
    archive = Archive()
    for number, tags in enumerate(archive.tags.values()):
        tags["0020,0012"] = f"{number % 2}.0"
    phase = PhaseFacts(keyword="AcquisitionNumber", value="1", image_count=3)
    read = slices_of(archive.orthanc, SERIES, "a", phase)
    assert read is not None
    assert {one["AcquisitionNumber"] for one in read.values} == {"1.0"}


@pytest.mark.parametrize(
    ("element", "creator", "expected"),
    [
        ("2005,100e", "Philips MR Imaging DD 001", 0.25),
        ("2005,110e", "Philips MR Imaging DD 001", None),
        ("2005,100e", "Somebody else", None),
    ],
)
def test_the_scale_slope_is_read_by_number_and_creator(
    element: str, creator: str, expected: float | None
) -> None:
    archive = Archive()
    for tags in archive.tags.values():
        tags |= {"2005,0010": creator, element: "0.25"}
    read = slices_of(archive.orthanc, SERIES, "a", WHOLE)
    assert read is not None
    assert {one.scale_slope for one in read.stored} == {expected}


def too_long(_tags: dict[str, dict[str, str]]) -> httpx.Response:
    return httpx.Response(200, content=b" " * (MAX_TAGS_BYTES + 1))


def away(_tags: dict[str, dict[str, str]]) -> httpx.Response:
    raise httpx.ConnectError("away")


@pytest.mark.parametrize(
    "answer",
    [
        too_long,
        away,
        lambda _tags: httpx.Response(500),
        lambda _tags: httpx.Response(404),
        lambda _tags: httpx.Response(200, content=b"{"),
        lambda _tags: httpx.Response(200, json=[]),
        lambda tags: httpx.Response(200, json=dict.fromkeys(tags)),
        lambda tags: httpx.Response(200, json=dict(list(tags.items())[1:])),
        lambda tags: httpx.Response(200, json={key: {"0008,0008": "M"} for key in tags}),
    ],
)
def test_what_cannot_be_read_is_a_stated_concern(answer: Answer) -> None:
    read = slices_of(Archive(answer).orthanc, SERIES, "a", WHOLE)
    assert read is None
    (concern,) = check_slices([read], ["image"])
    assert (concern.fault, concern.refuses) == (Fault.SLICES_NOT_READ, False)


def test_a_series_of_too_many_instances_is_not_read() -> None:
    archive = Archive(count=MAX_INSTANCES + 1)
    assert slices_of(archive.orthanc, SERIES, "a", PhaseFacts(image_count=5)) is None
    assert archive.asked == ["instances"]


def test_an_archive_that_was_away_or_slow_is_asked_again() -> None:
    archive = Archive(away)
    assert slices_of(archive.orthanc, SERIES, "a", WHOLE) is None
    archive.answer = Archive().answer
    with within(-1.0):
        assert slices_of(archive.orthanc, SERIES, "a", WHOLE) is None
    assert slices_of(archive.orthanc, SERIES, "a", WHOLE) is not None


def test_where_one_phase_is_not_known_the_others_are_left_to_the_lab() -> None:
    archive = Archive()
    archive.tags[identifier(1)]["0008,0008"] = "ORIGINAL\\PRIMARY\\P"
    known = slices_of(archive.orthanc, SERIES, "a", WHOLE)
    concerns = check_slices([known, None], ["pre", "post1"])
    assert [(one.fault, one.roles) for one in concerns] == [(Fault.SLICES_NOT_READ, ("post1",))]
