"""All families of the matrix in one list: importing a family declares its rows."""

from __future__ import annotations

from tests.faults.cluster_world import running_cluster_world
from tests.faults.families import (
    archive,
    archive_answers,
    broker,
    browser,
    cluster,
    events,
    lab,
    lab_child,
    lab_silence,
    messages,
    two_labs,
    web,
)
from tests.faults.postgres_world import running_postgres_world
from tests.faults.rows import FAMILIES, ROWS, Row

#: Named, so that nobody takes the imports for unused.
MODULES = (
    archive,
    archive_answers,
    broker,
    cluster,
    lab,
    lab_silence,
    lab_child,
    two_labs,
    messages,
    events,
    web,
    browser,
)

#: What a family runs in, where it is not `running_world`.
WORLDS = {"cluster": running_cluster_world, "web on PostgreSQL": running_postgres_world}


def rows() -> list[Row]:
    """Every row, family by family."""
    return sorted(ROWS, key=lambda r: FAMILIES.index(r.family))
