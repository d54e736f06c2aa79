"""The end of a soak: what became of every click, told from the site, its pages and the archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.demo.reader import ended
from tests.faults.archive_check import archive_faults
from tests.faults.pages import page_faults
from tests.faults.soak_readers import SoakReaders, Wish
from tests.faults.stored import StoredObject, by_request
from tests.faults.world import World

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


def reckon(world: World, wanted: Sequence[Wish], readers: SoakReaders) -> Reckoning:
    """Look at everything once, when all is at rest."""
    rows = {row["request_id"]: row for row in _all_requests(world)}
    stored = by_request(world.objects(), {name: row["study_id"] for name, row in rows.items()})
    result = Reckoning(submitted=len(wanted))
    for one in stored.get("", []):
        result.doubled.append(f"object {one.uid} belongs to no request")
    asked = [wish.request_id for wish in wanted if wish.request_id]
    result.doubled += [f"{name} was asked for by nobody" for name in rows.keys() - set(asked)]
    if len(set(asked)) < len(asked):
        result.doubled.append("two clicks were answered with one request")
    for wish in wanted:
        if wish.refused:
            result.disagreeing.append(f"click {wish.number} was refused: {wish.refused}")
        shown = rows.get(wish.request_id)
        if shown is None:
            result.lost.append(f"click {wish.number}: {wish.request_id or 'never answered'}")
            continue
        _count(result, wish, shown)
        _compare(result, wish, shown, stored.get(wish.request_id, []), readers)
    return result


def _count(result: Reckoning, wish: Wish, shown: dict[str, Any]) -> None:
    name, state = wish.request_id, shown["state"]
    if not ended(shown) or state == "dead":
        result.stuck.append(f"{name} is {state}")
    elif state == "failed":
        code = (shown["failure"] or {}).get("code", "no reason")
        result.failed[code] = result.failed.get(code, 0) + 1
        if code not in PASSING:
            result.disagreeing.append(f"{name} failed with {code}, and nothing was wrong with it")
    elif state == "cancelled":
        result.cancelled += 1
        if wish.cancel_after is None:
            result.disagreeing.append(f"{name} is cancelled and nobody asked for that")
    else:
        result.completed += 1
    if wish.cancel_taken and ended(shown) and state != "cancelled":
        result.disagreeing += _too_late(name, shown)


def _too_late(name: str, shown: dict[str, Any]) -> list[str]:
    """A cancel that was taken and came too late: only for a result, whose page says so.

    The page's sentence stands beside a result with `cancel_asked_at` (web/static/labrelay/
    sentence.js). No other end may follow a cancel that was taken (`web.inference.changes`).
    """
    if shown["state"] != "completed":
        return [f"{name} is {shown['state']}, and its cancel was taken"]
    if not shown.get("cancel_asked_at"):
        return [f"{name} is completed, and its page does not say that the cancel came too late"]
    return []


def _compare(
    result: Reckoning,
    wish: Wish,
    shown: dict[str, Any],
    objects: list[StoredObject],
    readers: SoakReaders,
) -> None:
    name = wish.request_id
    uids = [one.uid for one in objects]
    if twice := sorted({uid for uid in uids if uids.count(uid) > 1}):
        result.doubled.append(f"{name}: objects {', '.join(twice)}")
    else:
        result.disagreeing += map(str, archive_faults(name, shown, objects))
    page = readers.audience_of(wish)
    result.disagreeing += map(str, page_faults(name, page.last(name), shown, page.ends(name)))


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
