"""Fixtures for tests of a lab process, without the site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.orthanc import OrthancNode
from tests.integration.lab import Clinic, HeldBundle
from tests.integration.nodes import TestBroker


@pytest.fixture
def bundle(tmp_path: Path) -> HeldBundle:
    """The bundle that a lab of `arguments` serves."""
    return HeldBundle(tmp_path)


@pytest.fixture
def clinic(rabbit: TestBroker) -> Iterator[Clinic]:
    """Who asks, with empty queues."""
    clinic = Clinic(rabbit)
    # Another file's test may have left a request for a lab.
    clinic.forget()
    yield clinic
    clinic.forget()


@pytest.fixture
def arguments(
    tmp_path: Path, rabbit: TestBroker, orthanc: OrthancNode, bundle: HeldBundle
) -> dict[str, Any]:
    """Of `running_lab`, at the session's nodes."""
    return {
        "directory": tmp_path,
        "broker": rabbit,
        "archive": orthanc,
        "archive_url": orthanc.url,
        "bundle": bundle.path,
    }
