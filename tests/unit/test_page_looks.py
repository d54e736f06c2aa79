"""A page that looks at the archive itself waits for one that is away once, and not at each poll."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from web.inference import compare
from web.inference.compare import looked_at
from web.inference.models import InferenceRequest
from web.orthanc.archive import Orthanc

ID = "-".join(["0123abcd"] * 5)


class Away:
    """An archive that does not answer, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.orthanc = Orthanc("http://a", "u", "p", transport=httpx.MockTransport(self._answer))

    def _answer(self, _request: httpx.Request) -> httpx.Response:
        self.asked += 1
        raise httpx.ReadTimeout("nothing came")


def completed() -> InferenceRequest:
    return InferenceRequest(
        id=uuid4(),
        state="completed",
        study_id=ID,
        result={"seg_instance_id": ID, "sr_instance_id": ID},
        inputs=[{"role": "pre", "series_id": ID, "series_uid": "1.2", "instance_count": 4}],
    )


def test_an_archive_that_is_away_is_asked_once_for_all_pages() -> None:
    away, rows = Away(), [completed(), completed()]
    assert [looked_at(row, away.orthanc) for row in rows * 3] == rows * 3
    assert away.asked == 1
    other = Away()
    looked_at(rows[0], other.orthanc)
    assert other.asked == 1, "of another archive it says nothing"


def test_it_is_asked_again_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "SILENT_SECONDS", 0.0)
    away, row = Away(), completed()
    for _ in range(2):
        looked_at(row, away.orthanc)
    assert away.asked == 2
