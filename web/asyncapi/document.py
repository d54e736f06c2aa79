"""The AsyncAPI document, put together from the broker's side and the page's."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic.json_schema import models_json_schema

from messages import topology
from messages.codec import ALL_MESSAGES
from messages.envelope import CONTENT_TYPE, MAX_BODY_BYTES
from web.asyncapi import amqp, live
from web.asyncapi.parts import key

_DESCRIPTION = f"""\
What travels between site and labs over RabbitMQ (vhost `{topology.VHOST}`), and between pages and
site over a WebSocket. An AMQP body has at most {MAX_BODY_BYTES} bytes; readers tolerate unknown
fields. AMQP properties that AsyncAPI has no place for stand under `x-amqp-properties`.\
"""

_SERVERS = {
    "broker": {
        "host": "{broker}",
        "protocol": "amqp",
        "pathname": f"/{topology.VHOST}",
        "description": "`amqps` with TLS.",
        "variables": {"broker": {"default": "127.0.0.1:5673"}},
    },
    "site": {
        "host": "{site}",
        "protocol": "ws",
        "description": "`wss` with TLS.",
        "variables": {"site": {"default": "127.0.0.1:8000"}},
    },
}


def document() -> dict[str, Any]:
    """The whole document."""
    refs, schemas = _schemas()
    messages = {key(m.wire_type()): amqp.described(m, refs[m]) for m in ALL_MESSAGES} | {
        key(name): live.described(name, model, refs[model])
        for name, model in (live.FROM_PAGE | live.FROM_SITE).items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Labrelay", "version": "1", "description": _DESCRIPTION},
        "defaultContentType": CONTENT_TYPE,
        "servers": _SERVERS,
        "channels": amqp.channels() | live.channels(),
        "operations": amqp.operations() | live.operations(),
        "components": {"messages": messages, "schemas": schemas},
    }


def rendered() -> str:
    """The text of ``docs/asyncapi.json``."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _schemas() -> tuple[dict[Any, Any], dict[str, Any]]:
    """A reference for each model, and the schemas by name.

    What the site says over the socket is described as it is written, the rest as it is read: that
    is what ``messages/schemas`` holds too.
    """
    read: Literal["validation"] = "validation"
    written: Literal["serialization"] = "serialization"
    refs, definitions = models_json_schema(
        [
            *((model, read) for model in (*ALL_MESSAGES, *live.FROM_PAGE.values())),
            *((model, written) for model in live.FROM_SITE.values()),
        ],
        ref_template="#/components/schemas/{model}",
    )
    by_model = {model: reference for (model, _mode), reference in refs.items()}
    return by_model, definitions["$defs"]
