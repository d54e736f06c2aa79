"""How many schedules are tried: by default few enough for every run of the suite, and the same.

By hand: ``pytest tests/model --hypothesis-profile=thorough``.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

#: What both share. A step has no time limit: the machine may be busy.
_COMMON = settings(
    stateful_step_count=60,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

settings.register_profile("suite", _COMMON, max_examples=300, derandomize=True, database=None)
settings.register_profile("thorough", _COMMON, max_examples=5000, derandomize=False)
