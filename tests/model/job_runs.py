"""All runs of one request: who has it in hand, the archive that they share, what was told."""

from __future__ import annotations

from uuid import UUID

from messages import identity
from messages.envelope import Message
from messages.events import RunEvent
from messages.request import InferenceRequested
from tests.model.job_fakes import File, Mood
from tests.model.job_run import JobRun
from tests.unit.job_bench import request

REQUEST = UUID(int=1)


class Runs:
    """The request's messages, its runs, the archive that they share, and what was told."""

    def __init__(self, *, retries: int | None, hopeless: bool) -> None:
        """`retries` as the site sends it; None from one that did not count apart.

        `hopeless` series are no volume: whoever reads them says so.
        """
        self.hopeless = hopeless
        #: The latest attempt.
        self.newest = request(request_id=REQUEST, retries=retries, deadline_s=3600)
        #: Ready in the queue, each with its delivery count.
        self.ready: list[tuple[InferenceRequested, int]] = [(self.newest, 0)]
        self.tiers: list[InferenceRequested] = []
        self.runs: list[JobRun] = []
        self.mood = Mood.WELL
        self.objects: dict[str, bytes] = {}
        self.ids: dict[object, str] = {}
        #: Outcomes in the order in which the broker had them.
        self.told: list[RunEvent] = []
        #: Progress, of which the site hears some.
        self.hinted: list[RunEvent] = []
        self.cancel_asked = False
        self._authors = 0

    @property
    def live(self) -> list[JobRun]:
        """The runs that are not over."""
        return [run for run in self.runs if run.at is not None]

    @property
    def hearing(self) -> list[JobRun]:
        """Those to which the reader's cancel can come: the site repeats it when one begins."""
        return self.live if self.cancel_asked else []

    @property
    def limited(self) -> list[JobRun]:
        """Those whose deadline can pass now."""
        return [run for run in self.live if run.stop_conditions is not None]

    @property
    def primary(self) -> File | None:
        """The primary object."""
        return self._stored(identity.primary_instance_uid(REQUEST))

    @property
    def report(self) -> File | None:
        """The measurement report."""
        return self._stored(identity.report_instance_uid(REQUEST))

    def take(self, number: int, lab: str, voxels: int) -> JobRun:
        """A lab gets a message: its own work once more, or a new run."""
        asked, count = self.ready.pop(number % len(self.ready))
        for run in self.live:
            if run.lab == lab and run.request.attempt == asked.attempt:
                run.held.count = max(run.held.count, count)
                run.owns = True
                return run
        run = JobRun(self, lab, asked, count=count, voxels=voxels)
        self.runs.append(run)
        return run

    def lose(self, run: JobRun) -> bool:
        """The broker takes the delivery back; False when it was another's already."""
        owned, run.owns = run.owns, False
        if owned:
            self.ready.append((run.request, run.held.count + run.counted))
        return owned

    def expire_tiers(self) -> None:
        """What waits in a tier is ready again, counted anew."""
        self.ready += [(asked, 0) for asked in self.tiers]
        self.tiers.clear()

    def send_again(self) -> None:
        """The site sends the next attempt, with a whole budget."""
        again = {"attempt": self.newest.attempt + 1, "retries": 0}
        self.newest = self.newest.model_copy(update=again)
        self.ready.append((self.newest, 0))

    def cancel(self) -> None:
        """The reader's wish goes to the labs that have it in hand."""
        self.cancel_asked = True
        for run in self.live:
            run.cancel_waits = True

    def hear(self, message: Message) -> None:
        """The broker has it."""
        if isinstance(message, InferenceRequested):
            self.tiers.append(message)
            self.newest = max(self.newest, message, key=lambda asked: asked.attempt)
        elif isinstance(message, RunEvent):
            self.told.append(message)

    def next_author(self) -> int:
        """Another run is there."""
        self._authors += 1
        return self._authors

    def _stored(self, uid: str) -> File | None:
        key = self.ids.get(uid)
        return None if key is None else File.read(self.objects[key])
