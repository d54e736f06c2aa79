"""Twenty Enhanced objects, and a run told apart by its numbers: from the archive to the lab."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, cast

import numpy as np
import pytest
from django.test import Client
from django.utils import translation

from consumer.children import reader
from consumer.manual.facts import examine
from consumer.memory import MemoryFile
from consumer.orthanc.archive import Archive
from consumer.orthanc.images import Images
from consumer.payloads import DownloadIndex, PhaseFiles
from infra.local.orthanc import OrthancNode
from messages.codec import decode
from messages.phases import DCE_ROLES
from messages.request import InferenceRequested
from tests.dicom_factory import Series, part10
from tests.enhanced_factory import enhanced
from tests.integration.phased import COLUMNS, ROWS, SLICES, Phased, lasting, stored
from tests.integration.test_web_api import ask
from tests.integration.test_web_phases import inputs_of, proposed, wish
from tests.site import reader_of, use_archive
from web.inference.models import Outbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client(orthanc: OrthancNode, settings: Any) -> Client:
    use_archive(settings, orthanc)
    client = Client(raise_request_exception=False)
    client.force_login(reader_of())
    return client


def phases_of(count: int, step_s: int) -> list[Series]:
    """Phases of one series; grey is 100 x phase + slice, from 0."""
    first: Series | None = None
    found = []
    for number in range(count):
        grey = np.arange(SLICES)[:, None, None] + np.full((SLICES, ROWS, COLUMNS), 100 * number)
        minutes, seconds = divmod(step_s * number, 60)
        one = Series(
            slices=SLICES,
            rows=ROWS,
            columns=COLUMNS,
            time=f"10{15 + minutes:02}{seconds:02}",
            pixels=grey.astype(np.uint16),
            **({} if first is None else _as(first)),
        )
        first = first or one
        found.append(one)
    return found


def _as(first: Series) -> dict[str, str]:
    names = ("study_uid", "series_uid", "frame_uid")
    return {name: getattr(first, name) for name in names}


def read_by_the_lab(orthanc: OrthancNode) -> np.ndarray:
    """What the lab's reader makes of the one request that is stored."""
    row = Outbox.objects.get()
    message = cast("InferenceRequested", decode(bytes(row.body), type_=row.type))
    archive = Archive(orthanc.url, orthanc.user, orthanc.password)
    with ExitStack() as stack:
        memory, target = (stack.enter_context(MemoryFile()) for _ in range(2))
        uid = message.inputs[0].series_uid
        files = tuple(archive.download_series(message.study_uid, uid, memory))
        phases = tuple(
            PhaseFiles(
                role=item.role,
                series_uid=item.series_uid,
                path=memory.path,
                files=files,
                instance_count=item.instance_count,
                selector=(item.phase_selector.keyword, item.phase_selector.value)
                if item.phase_selector
                else None,
            )
            for item in message.inputs
        )
        header = reader.read_phases(DownloadIndex(message.study_uid, phases), target.path)
        return target.open_array(header.shape, np.float32).copy()


def by_hand(orthanc: OrthancNode, study: Phased) -> list[tuple[str, str]]:
    """What a run by hand finds in the series."""
    images = Images(orthanc.url, orthanc.user, orthanc.password)
    return [(p.keyword, p.value) for p in examine(images, study.series_ids[0]).facts.phases]


def test_an_object_for_each_of_20_time_points_is_offered_chosen_and_read(
    client: Client, orthanc: OrthancNode
) -> None:
    phases = phases_of(20, 60)
    objects = []
    for number, phase in enumerate(phases, 1):
        ds = enhanced([phase])
        ds.InstanceNumber = number
        for group in ds.PerFrameFunctionalGroupsSequence:
            group.FrameContentSequence[0].TemporalPositionIndex = number
        objects.append(part10(ds))
    study = stored(orthanc, tuple(phases), objects)
    (series,) = client.get(f"/api/v1/studies/{study.study_id}").json()["series"]

    assert series["unclear"] is None
    found = [(one["phase"]["keyword"], one["phase"]["value"]) for one in series["phases"]]
    assert found == [("TemporalPositionIndex", str(n)) for n in range(1, 21)]
    assert by_hand(orthanc, study) == found
    page = client.get(f"/studies/{study.study_id}/").content.decode()
    assert all(f"{study.series_ids[0]}:TemporalPositionIndex:{n}" in page for n in range(1, 21))
    made = inputs_of(client, study)
    assert [one["phase"]["value"] for one in made] == ["1", "2", "3", "20"]

    for item, value in zip(made, ("5", "9", "17", "20"), strict=True):
        item["phase"]["value"] = value
    assert ask(client, wish(study, made)).status_code == 202
    assert list(read_by_the_lab(orthanc)[:, 0, 0, 0]) == [400.0, 800.0, 1600.0, 1900.0]


def test_a_run_told_apart_by_its_numbers_is_proposed_with_its_doubt_and_read(
    client: Client, orthanc: OrthancNode
) -> None:
    phases = phases_of(10, 0)
    for at, phase in enumerate(phases):
        for place, ds in enumerate(phase.datasets):
            # All phases of a slice, then the next one.
            ds.InstanceNumber, ds.NumberOfTemporalPositions = 10 * place + at + 1, 10
    study = stored(orthanc, tuple(phases))

    made = inputs_of(client, study)
    values = [one["phase"]["value"] for one in made]
    assert values == ["1:10", "2:10", "3:10", "10:10"]
    assert by_hand(orthanc, study) == [("InstanceNumber", f"{n}:10") for n in range(1, 11)]
    with translation.override("en"):
        (doubt,) = lasting(proposed(client, study)["concerns"])
    assert (doubt["code"], doubt["refuses"]) == ("only_numbered", False)
    assert "numbering of the images" in doubt["message"]
    turned = [{**one, "phase": made[3 - n]["phase"]} for n, one in enumerate(made)]
    assert ask(client, wish(study, turned)).json()["error"]["code"] == "phases_out_of_order"

    assert ask(client, wish(study, made)).status_code == 202
    volume = read_by_the_lab(orthanc)
    assert [one["role"] for one in made] == list(DCE_ROLES)
    assert list(volume[:, 0, 0, 0]) == [0.0, 100.0, 200.0, 900.0]
    address = f"/studies/{study.study_id}/series/{study.series_ids[0]}/slices/0.png"
    shown = client.get(address, {"of": SLICES, "phase": "InstanceNumber:3:10"})
    assert shown.status_code == 200
