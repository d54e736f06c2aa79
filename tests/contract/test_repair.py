"""The commands for an operator work as they are printed, wherever they are printed or written."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pytest

from infra.local.settings import REPOSITORY
from messages import repair

#: What speaks to operators: programs and documents.
SAID = sorted(
    file
    for pattern in (
        *("README*.md", "docs/**/*.md", "infra/**/*.md", ".env.example"),
        *("consumer/**/*.py", "web/**/*.py", "messages/**/*.py"),
    )
    for file in REPOSITORY.glob(pattern)
)

#: A command with its file, which stands behind it also where a line broke.
IMPORT = re.compile(r"import_definitions[\s\"'`]+(?:f?\")?([\w/{.][^\s\"'`)\\]*)")


def imported(text: str) -> set[str]:
    return set(IMPORT.findall(text))


@pytest.mark.parametrize("file", SAID, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_the_topology_is_imported_from_where_debians_command_can_read_it(file: Path) -> None:
    text = file.read_text("utf-8")
    # What a program names by a variable, its own test looks at.
    named = {path for path in imported(text) if not path.startswith("{")}
    assert {str(PurePosixPath(path).parent) for path in named} <= {"/etc/rabbitmq"}
    assert "check_local_alarms" not in text.replace("`check_local_alarms` looks at nothing", "")


def test_the_file_is_named_absolutely_below_the_brokers_own_folder_and_readable_by_all() -> None:
    assert PurePosixPath(repair.DEFINITIONS_FILE).parent == PurePosixPath("/etc/rabbitmq")
    install = f"install -m 644 definitions.json {repair.DEFINITIONS_FILE}"
    assert install in (REPOSITORY / "infra/rabbitmq/README.md").read_text("utf-8")
    assert imported(repair.IMPORT_COMMANDS) == {repair.DEFINITIONS_FILE}
    assert imported(repair.IMPORT_SENTENCE) == {repair.DEFINITIONS_FILE}


def test_a_relative_path_is_found_also_where_a_string_is_broken() -> None:
    relative = "infra/rabbitmq/definitions.json"
    for text in (
        f"`rabbitmqctl import_definitions {relative}`",
        f'"rabbitmqctl import_definitions "\n    "{relative}"',
    ):
        assert imported(text) == {relative}
