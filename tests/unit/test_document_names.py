"""What a document names and is not there is found: faults planted in a small checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import documents
from tests.checkout import Checkout

#: A checkout with one of each: a module, a command of each program, a target, a variable.
FILES = {
    "Makefile": "demo:\n\ttrue\n",
    "web/__init__.py": "",
    "web/relay.py": "TURN_SECONDS = 2\nclass Relay:\n    def take(self):\n        self.row = 1\n",
    "web/static/page.js": "export function draw() {}\n",
    "web/management/commands/lab.py": 'p.add_subparsers(metavar="add|list")\n',
    "web/settings.py": "class SiteSettings(BaseSettings):\n    web_port: int\n    debug: bool\n",
    "consumer/__main__.py": "@app.command()\ndef run():\n    pass\n",
    "infra/local.py": 'port = read("AMQP_PORT")\n',
    "tests/unit/test_relay.py": "",
    "docs/other.md": "# One `two` heading\n\n```sh\n# no heading\n```\n",
}

SETTINGS = """\
## Site

[settings.py](../web/settings.py)

| variable | meaning |
|---|---|
| `WEB_PORT`, `DEBUG` | |

## Local

[local.py](../infra/local.py)

| variable | meaning |
|---|---|
| `AMQP_PORT` | |
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def faults(root: Path, text: str, name: str = "docs/x.md") -> list[str]:
    document = root / name
    document.write_text(text)
    return documents.faults(document, Checkout(root))


@pytest.mark.parametrize(
    "text",
    [
        "[a](other.md#one-two-heading) [b](https://a.example/b) [c](../web/relay.py)",
        "[relay.py](../web/relay.py) `Relay`, `take`, and [page.js](../web/static/page.js) `draw`",
        "`web.relay`, `web.relay.Relay.take`, `web/`, `web/relay.py`, `test_relay.py`",
        "`Relay.take`, `Relay.row`, `Dataset.pixel_array`, `TURN_SECONDS`, `unit/test_relay.py`",
        "`make demo`, `WEB_PORT=1 make demo`, `mri-web lab add NAME`, `mri-web migrate`, `make`",
        "`mri-consumer run` and, without being commands: make them, mri-web takes",
        "```sh\npython3.11 -m web.relay x\nmake demo ARGS=1  # make it so\n```",
    ],
)
def test_what_is_there_is_no_fault(root: Path, text: str) -> None:
    assert faults(root, text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[c](y.md)", ["y.md"]),
        ("[b](#other)", ["#other"]),
        ("[b](other.md#no-heading)", ["other.md#no-heading"]),
        ("[relay.py](../web/relay.py) `Relay`, `give`", ["../web/relay.py give"]),
        ("[page.js](../web/static/page.js) `erase`", ["../web/static/page.js erase"]),
        ("`web/nothing.py`", ["web/nothing.py"]),
        ("`web/nothing`", ["web/nothing"]),
        ("`unit/test_other.py`", ["unit/test_other.py"]),
        ("`web.nothing`", ["web.nothing"]),
        ("`web.relay.Relay.give`", ["web.relay.Relay.give"]),
        ("`Relay.give`", ["Relay.give"]),
        ("`TURN_MINUTES` and `turn_minutes` and `TurnMinutes`", [
            "TURN_MINUTES", "turn_minutes", "TurnMinutes"
        ]),
        ("`make dmeo`", ["make dmeo"]),
        ("```sh\nWEB_PORT=1 make dmeo\n```", ["make dmeo"]),
        ("`mri-web lba add`", ["mri-web lba"]),
        ("`mri-web lab ad`", ["mri-web lab ad"]),
        ("```sh\nvenv/bin/mri-consumer rnu\n```", ["mri-consumer rnu"]),
        ("`python -m web.rely x`", ["web.rely"]),
    ],
)  # fmt: skip
def test_what_is_not_there_is_found(root: Path, text: str, found: list[str]) -> None:
    assert faults(root, text) == found


def test_a_folder_of_a_public_set_is_not_ours(root: Path) -> None:
    text = "`tests/data/siemens`, `tests/datasets/gone.py`"
    assert faults(root, text, "docs/datasets.md") == ["tests/datasets/gone.py"]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("", "", []),
        (", `DEBUG`", "", ["DEBUG is missing"]),
        ("`DEBUG`", "`DEBUG`, `TURN_SECONDS`", ["TURN_SECONDS"]),
        ("`AMQP_PORT`", "`AMQP_PORT`, `WEB_PORT`", ["WEB_PORT"]),
        (
            "[local.py](../infra/local.py)",
            "",
            ["a section of settings without its module or table"],
        ),
    ],
)
def test_a_table_of_settings_has_each_variable_and_no_other(
    root: Path, old: str, new: str, found: list[str]
) -> None:
    assert faults(root, SETTINGS.replace(old, new), "docs/settings.md") == found


def test_a_tree_shows_each_package_and_what_is_there(root: Path) -> None:
    for package in ("web/live", "web/broker"):
        (root / package).mkdir()
        (root / package / "__init__.py").touch()
    tree = "## The tree\n\n```\nweb/     the site\n  live/  pages\n  broker/\nconsumer/\n```\n"
    assert faults(root, tree) == []
    assert faults(root, tree.replace("broker", "brokers")) == [
        "web/brokers/",
        "web/broker/ is missing in the tree",
    ]


def test_the_command_says_where_and_fails(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "README.md").write_text("`make dmeo`\n")
    (root / "CHANGELOG.md").write_text("`make gone`\n")
    assert documents.main(root) == 1
    assert capsys.readouterr().out.splitlines() == [
        "README.md: make dmeo",
        "2 documents, 1 names or links that lead nowhere",
    ]
    (root / "README.md").write_text("`make demo`\n")
    assert documents.main(root) == 0
