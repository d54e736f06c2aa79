"""What the socket says, and what it takes, is what docs/asyncapi.json describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from tests.integration.test_web_live import applied, page
from tests.integration.web_requests import a_run, written_request
from web import notify

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs/asyncapi.json").read_bytes())


def fits(message: dict[str, Any]) -> None:
    described = DOCUMENT["components"]["messages"][f"live_{message['type']}"]["payload"]
    schema = described | {"components": DOCUMENT["components"]}
    Draft202012Validator(schema, validate_formats=True).validate(message)


async def test_everything_that_is_said_fits_its_description() -> None:
    row = await written_request()
    wish = {"type": "follow", "request_ids": [str(row.pk)], "worklist": True}
    fits(wish)
    async with page() as socket:
        await socket.say(wish)
        fits(await socket.hear("snapshot"))
        fits(await socket.hear("lab"))
        for event in a_run(row.pk):
            await applied(event)
            await notify.requests_changed([row.pk])
            told = await socket.hear("event")
            fits(told)
        assert told["request"]["result"]
        await socket.say({"type": "shout"})
        fits(await socket.hear("error"))
