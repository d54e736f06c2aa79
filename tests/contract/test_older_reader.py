"""What today's programs write is what a reader of the released version takes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest

from messages import codec
from tests.contract.test_messages import EXAMPLES

#: Schemas as they were released. Never edit one: a reader out there still goes by it.
RELEASED = Path(__file__).parent / "released_schemas"


#: Today's messages by their type.
TODAY = {message.wire_type(): message for message in EXAMPLES}


@pytest.mark.parametrize("path", sorted(RELEASED.glob("*.json")), ids=lambda path: path.stem)
def test_a_message_of_today_is_valid_by_the_schema_that_was_released(path: Path) -> None:
    message = TODAY[path.stem]
    schema = json.loads(path.read_bytes())
    reader = jsonschema_rs.validator_for(schema, validate_formats=True)
    body = json.loads(codec.encode(message, app_id="test").body)
    assert [error.message for error in reader.iter_errors(body)] == []
    # What an older reader does not know it must be free to leave out.
    assert schema.get("additionalProperties", True) is not False


def test_a_message_without_a_field_that_was_released_would_be_noticed() -> None:
    schema = json.loads((RELEASED / "inference.requested.v1.json").read_bytes())
    request = json.loads(codec.encode(EXAMPLES[0], app_id="test").body)
    del request["study_uid"]
    assert not jsonschema_rs.validator_for(schema).is_valid(request)
