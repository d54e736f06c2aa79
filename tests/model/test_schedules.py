"""Whatever happens in whatever order, a request ends, once, and the archive agrees.

A small world (`world.World`: a site, a broker, two labs, an archive, a clock) meets schedules that
hypothesis invents, and shrinks when one breaks a promise. The site decides with the real
`change_for` and `effects_of`; everything around them is a model of what the other tests show on
real processes. At the end of each schedule all faults end, time passes, and the world must rest.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import settings

from messages.failures import FailureCode
from tests.model.schedule import Schedules
from tests.model.walk import walk
from web.inference.states import State

THOROUGH = settings.get_current_profile_name() == "thorough"

#: Long schedules by chance, each named by its seed, and the steps of each.
WALKS = 20_000 if THOROUGH else 1000
STEPS = 120

TestSchedules = Schedules.TestCase
TestSchedules.settings = settings.get_profile("thorough" if THOROUGH else "suite")


def test_on_long_schedules_each_request_ends_once_and_the_archive_agrees() -> None:
    ends: Counter[State] = Counter()
    attempts: Counter[int] = Counter()
    codes: Counter[str] = Counter()
    for seed in range(WALKS):
        try:
            machine = walk(seed, STEPS)
        except AssertionError as error:
            raise AssertionError(f"the schedule of seed {seed} breaks a promise") from error
        for row in machine.site.rows.values():
            ends[row.state] += 1
            codes[row.snapshot.failure_code] += 1
            attempts[row.snapshot.attempt] += 1

    # The schedules are worth something only as long as they lead everywhere.
    assert {State.COMPLETED, State.CANCELLED, State.FAILED, State.DEAD} <= set(ends)
    assert set(attempts) >= {1, 2, 3}
    assert FailureCode.RESULT_NOT_FOUND in codes
