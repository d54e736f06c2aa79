"""The end of a soak: what became of every click, told from the site, its pages and the archive."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pydicom

from infra.demo.reader import ended
from messages import identity
from tests.faults.soak_readers import SoakReaders, Wish
from tests.faults.verdict import archive_faults
from tests.faults.world import World
from tests.integration.lab import orthanc_get

#: Codes that a passing fault may end in when all tries are spent. Any other one says that
#: something is wrong with the images or the request, and nothing is.
PASSING = frozenset(
    {"archive_unavailable", "upload_rejected", "worker_crashed", "inference_timeout"}
)

#: Requests of one page of the list.
_LISTED = 100


@dataclass
class Reckoning:
    """Counts, and a sentence for each thing that must not be."""

    submitted: int = 0
    completed: int = 0
    cancelled: int = 0
    #: By code.
    failed: dict[str, int] = field(default_factory=dict)
    #: Answered and unknown to the site, or never answered.
    lost: list[str] = field(default_factory=list)
    #: Without an outcome, or with one that only staff can end.
    stuck: list[str] = field(default_factory=list)
    #: Two rows for one click, two objects under one identity, objects that are nobody's.
    doubled: list[str] = field(default_factory=list)
    #: Site, pages and archive tell different things, or what was told cannot be true.
    disagreeing: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing was lost, stuck, doubled or disagreeing."""
        return not (self.lost or self.stuck or self.doubled or self.disagreeing)


def reckon(world: World, wanted: list[Wish], readers: SoakReaders) -> Reckoning:
    """Look at everything once, when all is at rest."""
    rows = {row["request_id"]: row for row in _all_requests(world)}
    by_request = _stored(world, set(rows))
    result = Reckoning(submitted=len(wanted))
    for uid in by_request.pop("", []):
        result.doubled.append(f"object {uid.SOPInstanceUID} belongs to no request")
    asked = {w.request_id for w in wanted}
    result.doubled += [f"{name} was asked for by nobody" for name in rows if name not in asked]
    if len(asked - {""}) < sum(bool(w.request_id) for w in wanted):
        result.doubled.append("two clicks were answered with one request")
    for wish in wanted:
        if wish.refused:
            result.disagreeing.append(f"click {wish.number} was refused: {wish.refused}")
        shown = rows.get(wish.request_id)
        if shown is None:
            result.lost.append(f"click {wish.number}: {wish.request_id or 'never answered'}")
            continue
        _count(result, wish, shown)
        _compare(result, wish, shown, by_request.get(wish.request_id, []), readers)
    return result


def _count(result: Reckoning, wish: Wish, shown: dict[str, Any]) -> None:
    name, state = wish.request_id, shown["state"]
    if not ended(shown) or state == "dead":
        result.stuck.append(f"{name} is {state}")
    elif state == "failed":
        code = shown["failure"]["code"]
        result.failed[code] = result.failed.get(code, 0) + 1
        if code not in PASSING:
            result.disagreeing.append(f"{name} failed with {code}, and nothing was wrong with it")
    elif state == "cancelled":
        result.cancelled += 1
        if wish.cancel_after is None:
            result.disagreeing.append(f"{name} is cancelled and nobody asked for that")
    else:
        result.completed += 1


def _compare(
    result: Reckoning,
    wish: Wish,
    shown: dict[str, Any],
    objects: list[pydicom.Dataset],
    readers: SoakReaders,
) -> None:
    name = wish.request_id
    counts = Counter(str(o.SOPInstanceUID) for o in objects)
    twice = [uid for uid, count in counts.items() if count > 1]
    if twice:
        result.doubled.append(f"{name}: objects {', '.join(twice)}")
    else:
        result.disagreeing += [str(fault) for fault in archive_faults(name, shown, objects)]
    audience = readers.audience_of(wish)
    told = audience.last(name).get("state")
    if told != shown["state"]:
        result.disagreeing.append(f"{name}: the open page says {told}, a load {shown['state']}")
    if len(audience.ends(name)) > 1:
        result.disagreeing.append(f"{name}: the open page saw {audience.ends(name)}")


def _all_requests(world: World) -> Iterator[dict[str, Any]]:
    path = f"/api/v1/requests?limit={_LISTED}"
    while True:
        answer = world.reader.get(path)
        answer.raise_for_status()
        page = answer.json()
        yield from page["requests"]
        if not page["next"]:
            return
        path = f"/api/v1/requests?limit={_LISTED}&cursor={page['next']}"


def _stored(world: World, requests: set[str]) -> dict[str, list[pydicom.Dataset]]:
    """Every object that is no image by its request; under "" those of no request."""
    owner = {
        uid(UUID(name)): name
        for name in requests
        for uid in (identity.primary_instance_uid, identity.report_instance_uid)
    }
    node = world.stack.orthanc
    found: dict[str, list[pydicom.Dataset]] = {}
    for series in orthanc_get(node, "/series?expand"):
        if series["MainDicomTags"]["Modality"] == "MR":
            continue
        for instance in series["Instances"]:
            dataset = pydicom.dcmread(io.BytesIO(_file(world, instance)))
            found.setdefault(owner.get(str(dataset.SOPInstanceUID), ""), []).append(dataset)
    return found


def _file(world: World, instance: str) -> bytes:
    import requests

    node = world.stack.orthanc
    url = f"{node.url}/instances/{instance}/file"
    answer = requests.get(url, auth=(node.user, node.password), timeout=30)
    answer.raise_for_status()
    return answer.content
