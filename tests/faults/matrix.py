"""All families of the matrix in one list: importing their modules declares the rows."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from tests.faults import families
from tests.faults.cluster_world import running_cluster_world
from tests.faults.postgres_world import running_postgres_world
from tests.faults.rows import FAMILIES, ROWS, Row

#: Every file beside each other in `families`: one that nobody has listed would not run.
MODULES = tuple(
    import_module(f"{families.__name__}.{module.name}")
    for module in pkgutil.iter_modules(families.__path__)
)

#: What a row runs in, by the name of its world; any other one is a `running_world`.
WORLDS = {"cluster": running_cluster_world, "web on PostgreSQL": running_postgres_world}


def rows() -> list[Row]:
    """Every row, family by family, those of one world together."""
    return sorted(ROWS, key=lambda r: (FAMILIES.index(r.family), r.world != r.family, r.world))


def not_shown() -> list[tuple[str, str]]:
    """What no row shows, and why: the families' own lists together."""
    return [pair for module in MODULES for pair in getattr(module, "NOT_SHOWN", ())]
