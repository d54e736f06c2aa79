"""A run by hand finds the phases of each layout as the site does, from what Orthanc tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from consumer.manual.facts import examine
from consumer.orthanc.images import ArchiveImage, Images, ImageSeries, numbers_of
from messages.phases import DCE_ROLES, propose
from messages.phases.parts import FRAME_PHASE_KEYWORDS
from messages.phases.values import integer
from tests.layouts.every import LAYOUTS
from tests.layouts.tags import Layout, Series

#: What Orthanc keeps of an instance in its index, of what may tell phases apart.
INDEXED = ("TemporalPositionIdentifier", "AcquisitionNumber")

#: What a frame of Enhanced MR says in its functional groups.
OF_FRAME = (*FRAME_PHASE_KEYWORDS, "AcquisitionDate", "ImageType", "EchoTime")


class Archive:
    """An Orthanc with the series of one layout, of which it records what is asked."""

    def __init__(self, layout: Layout) -> None:
        self._series = {series.series_id: series for series in layout.series}
        self.asked: list[str] = []

    def series(self, series_id: str) -> ImageSeries:
        series = self._series[series_id]
        return ImageSeries(
            study_uid="1.2",
            series_uid="1.2.3",
            modality=series.tags["Modality"],
            description=series.tags["SeriesDescription"],
            instance_count=series.objects if series.multi_frame else len(series.images),
            images=tuple(self._image(series, place) for place in range(len(series.images))),
        )

    def tags(self, instance_id: str, keywords: Sequence[str]) -> dict[str, str]:
        self.asked.append(instance_id)
        series_id, place = instance_id.rsplit(" ", 1)
        series = self._series[series_id]
        tags = series.tags if series.multi_frame else series.tags | series.images[int(place)]
        return {name: tags[name] for name in keywords if tags.get(name)}

    @staticmethod
    def _image(series: Series, place: int) -> ArchiveImage:
        tags = series.tags | series.images[place]
        names = OF_FRAME if series.multi_frame else INDEXED
        x, y, z = map(float, tags["ImagePositionPatient"].split("\\"))
        return ArchiveImage(
            instance_id=f"{series.series_id} {0 if series.multi_frame else place}",
            position=(x, y, z),
            orientation=numbers_of(tags["ImageOrientationPatient"], 6),
            values={name: tags[name] for name in names if tags.get(name)},
            spacing=numbers_of(tags["PixelSpacing"], 2) if series.multi_frame else None,
            frame=series.multi_frame,
            number=integer(tags.get("InstanceNumber", "")),
        )


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_run_by_hand_finds_what_the_site_finds(layout: Layout) -> None:
    archive = Archive(layout)
    examined = [examine(cast("Images", archive), series.series_id) for series in layout.series]

    made = propose([one.facts for one in examined], DCE_ROLES)

    assert made.problem is layout.problem
    assert tuple((c.series_id, c.keyword, c.value) for c in made.choices) == layout.phases
    assert made.left_out == layout.left_out


def test_one_image_of_a_phase_is_asked_where_the_index_tells_them_apart() -> None:
    layout = next(one for one in LAYOUTS if one.name.startswith("Siemens VIBE, all phases"))
    archive = Archive(layout)

    examine(cast("Images", archive), "dyn")

    assert len(archive.asked) == 6
