"""Whatever meets the real job at whichever call, it ends once, and tells what is stored.

Runs of one request share an archive: deliveries that were given again, next tries out of the tiers,
labs that find something else. What happens while each stands at a call of a recording fake
(`job_run`) is chosen by hypothesis (`job_schedule`) and by chance (`job_walk`); the promises are in
`job_promises`. At the end of each schedule the faults end, everything is worked off, and the site
hears of it in any order.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import settings

from consumer.amqp.acks import LegalAck
from consumer.errors import LabStopping
from tests.model.job_faults import Ours
from tests.model.job_run import Killed
from tests.model.job_schedule import JobRuns
from tests.model.job_walk import walk

THOROUGH = settings.get_current_profile_name() == "thorough"

#: Schedules by chance, each named by its seed, and the steps of each.
WALKS = 10_000 if THOROUGH else 200
STEPS = 20

TestJobRuns = JobRuns.TestCase
TestJobRuns.settings = settings(
    settings.get_profile("thorough" if THOROUGH else "suite"),
    max_examples=2000 if THOROUGH else 40,
    stateful_step_count=20,
)


def test_on_schedules_by_chance_each_run_ends_as_it_was_told_and_the_request_once() -> None:
    ends: Counter[object] = Counter()
    for seed in range(WALKS):
        try:
            machine = walk(seed, STEPS)
        except AssertionError as error:
            raise AssertionError(f"the schedule of seed {seed} breaks a promise") from error
        ends.update(run.outcome or type(run.error) for run in machine.world.runs)

    # The schedules are worth something only as long as they lead everywhere.
    every = {*LegalAck, LabStopping, Killed, Ours} - {LegalAck.DEFERRED}
    assert set(ends) == every, ends
