"""What an archive holds beside images, read as it lies there."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

import pydicom
import requests

from infra.local.orthanc import OrthancNode
from messages import identity
from tests.integration.lab import orthanc_get


@dataclass(frozen=True)
class StoredObject:
    """One object that is no image."""

    #: Orthanc's ids of the study that it lies in, and of itself.
    study_id: str
    instance_id: str
    dataset: pydicom.Dataset

    @property
    def uid(self) -> str:
        """Its SOP Instance UID."""
        return str(self.dataset.SOPInstanceUID)


def object_ids(node: OrthancNode) -> frozenset[str]:
    """Orthanc's ids of all objects that are no images."""
    return frozenset(instance for _, instance in _listed(node))


def stored_objects(node: OrthancNode, but: Collection[str] = ()) -> list[StoredObject]:
    """Every object of the archive that is no image, but those of these ids."""
    return [
        StoredObject(study, instance, read_instance(node, instance))
        for study, instance in _listed(node)
        if instance not in but
    ]


def read_instance(node: OrthancNode, instance_id: str) -> pydicom.Dataset:
    """The file of one instance, read; raises `requests.RequestException`."""
    url = f"{node.url}/instances/{instance_id}/file"
    answer = requests.get(url, auth=(node.user, node.password), timeout=30)
    answer.raise_for_status()
    return pydicom.dcmread(io.BytesIO(answer.content))


def by_request(
    objects: Collection[StoredObject], studies: Mapping[str, str]
) -> dict[str, list[StoredObject]]:
    """The objects by the request whose they are, and under "" those that are nobody's.

    `studies` holds Orthanc's id of the study by request id. An object is a request's when it has
    one of the two UIDs derived from it and lies in its study.
    """
    owner = {(studies[name], uid): name for name in studies for uid in derived_uids(name)}
    found: dict[str, list[StoredObject]] = {}
    for one in objects:
        found.setdefault(owner.get((one.study_id, one.uid), ""), []).append(one)
    return found


def derived_uids(request_id: str) -> tuple[str, str]:
    """SOP Instance UIDs of a request's primary object and of its measurement report."""
    key = UUID(request_id)
    return identity.primary_instance_uid(key), identity.report_instance_uid(key)


def _listed(node: OrthancNode) -> Iterator[tuple[str, str]]:
    for series in orthanc_get(node, "/series?expand"):
        if series["MainDicomTags"]["Modality"] != "MR":
            for instance in series["Instances"]:
                yield series["ParentStudy"], instance
