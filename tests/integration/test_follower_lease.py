"""Of several site processes one follows; when it is killed in its work another goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest
from django.db import connection

from infra.local.orthanc import OrthancNode
from infra.local.process import Service
from infra.local.settings import REPOSITORY, child_environment
from tests.integration.followed import Followed
from web.follower.follow import LEASE
from web.follower.models import IndexedStudy
from web.inference.models import InferenceRequest, SiteLease

pytestmark = pytest.mark.django_db(transaction=True)

T = TypeVar("T")


@contextmanager
def following(root: Path, name: str, orthanc: OrthancNode) -> Iterator[Service]:
    service = Service(
        name,
        (sys.executable, "-m", "tests.integration.follower_process"),
        log=root / f"{name}.log",
        env=child_environment(
            {
                "DJANGO_SETTINGS_MODULE": "web.settings",
                "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
                "ORTHANC_URL": orthanc.url,
                "ORTHANC_USER": orthanc.user,
                "ORTHANC_PASSWORD": orthanc.password,
            }
        ),
        cwd=REPOSITORY,
    )
    service.start()
    try:
        yield service
    finally:
        service.stop()


def eventually(look: Callable[[], T | None], what: str, seconds: float = 60.0) -> T:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {seconds} s")


def holder(besides: UUID | None = None) -> UUID | None:
    lease = SiteLease.objects.filter(name=LEASE).exclude(holder=besides).first()
    return lease and lease.holder


def compared(row: InferenceRequest) -> bool:
    return InferenceRequest.objects.get(pk=row.pk).input_state == "same"


def test_one_follows_and_another_goes_on_where_it_was_killed(
    orthanc: OrthancNode, tmp_path: Path
) -> None:
    study = Followed(orthanc)
    first_row = study.result()
    with ExitStack() as stack:
        services = [stack.enter_context(following(tmp_path, n, orthanc)) for n in ("a", "b")]
        eventually(lambda: compared(first_row), "comparison")
        first = holder()
        assert first is not None
        logs = [tmp_path / f"{name}.log" for name in ("a", "b")]
        (place,) = [n for n, log in enumerate(logs) if str(first) in log.read_text("utf-8")]
        others = [Followed(orthanc) for _ in range(5)]
        services[place].kill()
        second_row = study.result()
        eventually(lambda: holder(besides=first), "other holder")
        eventually(lambda: compared(second_row), "comparison by the other one")
        wanted = {one.study_id for one in others}
        eventually(
            lambda: wanted <= set(IndexedStudy.objects.values_list("pk", flat=True)), "index"
        )
        # Compared once by the first, and left alone by the second, to which nothing had changed.
        version = first_row.version
        first_row.refresh_from_db()
        assert first_row.version == version + 1
        assert services[1 - place].alive
