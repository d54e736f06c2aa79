"""Each study of the vendors' layouts, read as the site reads it: from an archive, call by call."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from pydicom.datadict import tag_for_keyword

from messages.lab import ModelDescriptor
from messages.phases import DCE_ROLES, propose
from messages.phases.check import Fault
from tests.layouts import old_calls
from tests.layouts.every import LAYOUTS
from tests.layouts.tags import Layout, Series, Tags
from web.orthanc.archive import Orthanc
from web.phases.choice import from_archive, look_up
from web.phases.chosen import Selection
from web.phases.concerns import worded
from web.phases.images import KEPT_VALUES
from web.phases.phase_names import selector_of
from web.phases.series_facts import read_series
from web.phases.stack import read_stack

every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)

#: What Orthanc 1.10 keeps of an instance in its database, of what a layout says.
IN_DATABASE = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "InstanceNumber",
    *KEPT_VALUES,
)

#: Where a frame of Enhanced MR says what a classic image says of itself.
GROUPS = {
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "TemporalPositionIndex": ("FrameContentSequence", "TemporalPositionIndex"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "TriggerTime": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "ImageType": ("MRImageFrameTypeSequence", "FrameType"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
}


MODEL = ModelDescriptor(
    name="m", version="1", sha256="0" * 64, roles=DCE_ROLES, labels=("lesion",), notice=""
)


class Archive:
    """An Orthanc that holds one layout, its series and images in no order."""

    def __init__(self, layout: Layout) -> None:
        order = random.Random(layout.name)
        self.names: dict[str, str] = {}
        self.series: dict[str, Series] = {}
        self.images: dict[str, dict[str, Tags | dict[str, Any]]] = {}
        for number, series in enumerate(order.sample(layout.series, len(layout.series)), 1):
            one = identifier(number, 0)
            self.names[one], self.series[one] = series.series_id, series
            objects = objects_of(series) if series.multi_frame else classic(series)
            order.shuffle(objects)
            self.images[one] = {identifier(number, n): tags for n, tags in enumerate(objects, 1)}
        self.orthanc = Orthanc(
            "http://a.invalid", "u", "p", transport=httpx.MockTransport(self.answer)
        )

    def items(self) -> list[dict[str, Any]]:
        """The series as Orthanc describes them."""
        return [self.item(one) for one in self.series]

    def item(self, one: str) -> dict[str, Any]:
        tags = self.series[one].tags
        return {
            "ID": one,
            "Instances": list(self.images[one]),
            "ParentStudy": STUDY,
            "MainDicomTags": {
                "SeriesInstanceUID": f"1.2.{int(one[:8], 16)}",
                "Modality": tags["Modality"],
                "SeriesDescription": tags["SeriesDescription"],
            },
        }

    def answer(self, request: httpx.Request) -> httpx.Response:
        level, one, *tail = request.url.path.strip("/").split("/")
        match level, tail:
            case "studies", []:
                return httpx.Response(200, json={"MainDicomTags": {"StudyInstanceUID": "1.2.3"}})
            case "studies", ["series"]:
                return httpx.Response(200, json=self.items())
            case "series", []:
                return httpx.Response(200, json=self.item(one))
            case "series", ["instances"]:
                return httpx.Response(200, json=[*self.indexed(one)])
            case "series", ["instances-tags"]:
                form = by_number if request.url.query == b"short" else dict
                found = {key: form(tags) for key, tags in self.images[one].items()}
                return httpx.Response(200, json=found)
        assert (level, tail) == ("instances", ["simplified-tags"])
        (tags,) = (images[one] for images in self.images.values() if one in images)
        return httpx.Response(200, json=tags)

    def indexed(self, one: str) -> Iterator[dict[str, Any]]:
        for number, (instance_id, tags) in enumerate(self.images[one].items(), 1):
            main = {name: tags[name] for name in IN_DATABASE if name in tags}
            if "NumberOfFrames" in tags:
                main["NumberOfFrames"] = tags["NumberOfFrames"]
            main |= {"SOPInstanceUID": f"1.2.{instance_id[:8]}.{number}"}
            yield {"ID": instance_id, "MainDicomTags": main}


def by_number(tags: Mapping[str, Any]) -> dict[str, Any]:
    """The tags as Orthanc's short form has them."""
    return {
        f"{number:08x}"[:4] + f",{number & 0xFFFF:04x}": value
        for name, value in tags.items()
        if (number := tag_for_keyword(name)) is not None
    }


STUDY = "-".join(["00000000"] * 5)


def identifier(series: int, number: int) -> str:
    """An id as Orthanc has them."""
    return "-".join([f"{series:04x}{number:04x}"] * 5)


def classic(series: Series) -> list[Tags]:
    return [series.tags | image for image in series.images]


def objects_of(series: Series) -> list[dict[str, Any]]:
    """The multi-frame objects of a series; what all frames share stands at their top."""
    return [
        {
            **{name: text for name, text in series.tags.items() if name not in GROUPS},
            "ImageType": series.tags["ImageType"],
            "InstanceNumber": str(number),
            "NumberOfFrames": str(len(images)),
            "SharedFunctionalGroupsSequence": [group(series.tags)],
            "PerFrameFunctionalGroupsSequence": [group(image) for image in images],
        }
        for number, images in enumerate(series.in_objects(), 1)
    ]


def group(tags: Tags) -> dict[str, Any]:
    """The functional groups that say these tags."""
    found: dict[str, Any] = {}
    for name, (sequence, keyword) in GROUPS.items():
        if name in tags:
            found.setdefault(sequence, [{}])[0][keyword] = tags[name]
    if "AcquisitionTime" in tags:
        date = tags.get("AcquisitionDate", "20260302")
        content = found.setdefault("FrameContentSequence", [{}])[0]
        content["FrameAcquisitionDateTime"] = date + tags["AcquisitionTime"]
    known = {*GROUPS, "AcquisitionTime", "AcquisitionDate", "InstanceNumber"}
    other = {name: text for name, text in tags.items() if name not in known}
    if other:
        # As a converter of classic objects has it.
        found["UnassignedPerFrameConvertedAttributesSequence"] = [other]
    return found


@every_layout
def test_the_site_proposes_what_the_tags_say(layout: Layout) -> None:
    archive = Archive(layout)
    facts = [read_series(archive.orthanc, item).facts for item in archive.items()]
    made = propose(facts)

    assert made.problem is layout.problem
    chosen = tuple((archive.names[c.series_id], c.keyword, c.value) for c in made.choices)
    assert chosen == layout.phases
    assert [choice.role for choice in made.choices] == list(DCE_ROLES[: len(layout.phases)])
    assert {archive.names[one]: why for one, why in made.left_out.items()} == layout.left_out
    assert [c.seconds_after_first for c in made.choices] == [
        None if seconds is None else pytest.approx(seconds, abs=1e-3) for seconds in layout.seconds
    ]


@every_layout
def test_every_phase_that_is_offered_can_be_shown_with_all_its_images(layout: Layout) -> None:
    archive = Archive(layout)
    for item in archive.items():
        for phase in read_series(archive.orthanc, item).facts.phases:
            selector = selector_of(phase.keyword, phase.value)
            shown = read_stack(archive.orthanc, item["ID"], selector)
            assert len(shown.slices) == phase.image_count


@pytest.mark.parametrize(
    "layout", [*old_calls.LAYOUTS, old_calls.ODD_TIMES], ids=lambda layout: layout.name
)
def test_what_the_old_front_end_asked_for_is_still_taken(layout: Layout) -> None:
    """It names the series in their order; that the tags do not confirm it refuses nothing."""
    archive = Archive(layout)
    ids = {name: one for one, name in archive.names.items()}
    named = zip(DCE_ROLES, old_calls.NAMED, strict=True)
    chosen = [Selection(role, ids[name]) for role, name in named]
    taken = from_archive(archive.orthanc, MODEL, STUDY, chosen)

    assert [archive.names[item.series_id] for item in taken.inputs] == list(old_calls.NAMED)
    found = look_up(archive.orthanc, MODEL, STUDY, chosen)
    assert worded(found.concerns)
    assert not {one.fault for one in found.concerns} & {Fault.MIXED, Fault.SLICES_NOT_READ}


@every_layout
def test_the_slices_of_what_is_proposed_agree(layout: Layout) -> None:
    archive = Archive(layout)
    ids = {name: one for one, name in archive.names.items()}
    chosen = [
        Selection(role, ids[name], selector_of(keyword, value))
        for role, (name, keyword, value) in zip(DCE_ROLES, layout.phases, strict=False)
    ]
    if chosen:
        found = look_up(archive.orthanc, MODEL, STUDY, chosen)
        assert not any(one.refuses for one in found.concerns)
        assert Fault.SLICES_NOT_READ not in {one.fault for one in found.concerns}
