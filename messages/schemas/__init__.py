"""JSON schemas of every message, generated from the models and committed.

``python -m messages.schemas`` writes them; the tests compare.
"""

from __future__ import annotations

import json
from pathlib import Path

from messages.codec import ALL_MESSAGES


def rendered() -> dict[str, str]:
    """File name -> text of the schema, for every message."""
    return {
        f"{message.wire_type()}.json": json.dumps(
            message.model_json_schema(), indent=2, ensure_ascii=False
        )
        + "\n"
        for message in ALL_MESSAGES
    }


def write(directory: Path = Path(__file__).parent) -> None:
    """Write all schemas into `directory`."""
    for name, text in rendered().items():
        (directory / name).write_text(text, encoding="utf-8")
