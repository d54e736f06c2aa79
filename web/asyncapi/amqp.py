"""The broker's side: exchanges, queues, and who sends what to whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from messages import topology
from messages.codec import ALL_MESSAGES
from messages.control import CancelRequested
from messages.envelope import ATTEMPT_HEADER, CONTENT_TYPE, TRACEPARENT_HEADER, Message
from messages.events import RUN_EVENTS, RunEvent
from messages.lab import LabHeartbeat, LabModel
from messages.request import InferenceRequested
from web.asyncapi.parts import first_line, key, message_refs, operation

#: Version of AsyncAPI's AMQP bindings.
_BINDING = {"bindingVersion": "0.3.0"}

#: AMQP's delivery mode of a message that survives a restart of the broker.
_PERSISTENT = 2

#: W3C Trace Context, level 1.
_TRACEPARENT = "^00-[0-9a-f]{32}-[0-9a-f]{16}-01$"

#: The parts of a request's routing key.
_ROUTED = {"pool": {"enum": list(topology.POOLS)}, "model": {"description": "Name of a model."}}


@dataclass(frozen=True)
class Operation:
    """What one side does, over an exchange (send) or from a queue (receive)."""

    name: str
    action: Literal["send", "receive"]
    channel: str
    messages: Sequence[type[Message]]


def _of_keys(
    messages: Iterable[type[RunEvent | LabHeartbeat | LabModel]], keys: Iterable[str]
) -> Any:
    return tuple(message for message in messages if message.ROUTING_KEY in keys)


def _of_pool(pool: str) -> Iterator[Operation]:
    for tier in topology.RETRY_TIERS:
        yield Operation(
            f"labOf_{pool}_schedulesRetryIn_{tier}",
            "send",
            topology.retry_exchange(pool, tier),
            (InferenceRequested,),
        )
    events, control = topology.events_exchange(pool), topology.control_exchange(pool)
    of_itself = (LabHeartbeat, LabModel)
    yield Operation(f"labOf_{pool}_tellsOfRun", "send", events, RUN_EVENTS)
    yield Operation(f"labOf_{pool}_tellsOfItself", "send", events, of_itself)
    yield Operation(
        f"siteTakesOutcomeOf_{pool}",
        "receive",
        topology.replies_queue(pool),
        _of_keys(RUN_EVENTS, topology.OUTCOME_KEYS),
    )
    yield Operation(
        f"siteTakesHintOf_{pool}",
        "receive",
        topology.progress_queue(pool),
        _of_keys((*RUN_EVENTS, *of_itself), topology.HINT_KEYS),
    )
    yield Operation(f"siteCancelsIn_{pool}", "send", control, (CancelRequested,))
    yield Operation(f"labOf_{pool}_takesCancel", "receive", control, (CancelRequested,))


OPERATIONS = (
    Operation("siteSendsRequest", "send", topology.REQUESTS, (InferenceRequested,)),
    *(
        Operation(
            f"labTakesRequestOf_{pool}",
            "receive",
            topology.requests_queue(pool),
            (InferenceRequested,),
        )
        for pool in topology.POOLS
    ),
    *(
        Operation(
            f"labTakesRuleRequestOf_{pool}",
            "receive",
            topology.rules_queue(pool),
            (InferenceRequested,),
        )
        for pool in topology.POOLS
    ),
    *(one for pool in topology.POOLS for one in _of_pool(pool)),
    Operation("siteTakesDeadLetter", "receive", topology.DEAD_QUEUE, ALL_MESSAGES),
)


def channels() -> dict[str, Any]:
    """Exchanges and queues, by their names."""
    queues = {queue.name: queue for queue in topology.queues()}
    kinds = {exchange.name: exchange.kind for exchange in topology.exchanges()}
    names = dict.fromkeys(operation.channel for operation in OPERATIONS)
    # A retry tier's exchange and its queue have one name: messages are sent to the exchange.
    sent_to = {one.channel for one in OPERATIONS if one.action == "send"}
    taken = queues.keys() - sent_to
    return {
        key(name): {
            **(_queue(queues[name]) if name in taken else _exchange(name, kinds[name])),
            "servers": [{"$ref": "#/servers/broker"}],
            "messages": message_refs(_types_on(name)),
        }
        for name in names
    }


def operations() -> dict[str, Any]:
    """Who does what, from the side of whoever does it."""
    return {
        one.name: {
            **operation(one.action, one.channel, [m.wire_type() for m in one.messages]),
            "bindings": {"amqp": _manner(one) | _BINDING},
        }
        for one in OPERATIONS
    }


def described(message: type[Message], payload: Any) -> dict[str, Any]:
    """A message with its headers and properties; `payload` refers to its schema."""
    fields = message.model_fields
    whole: dict[str, Any] = {
        "name": message.wire_type(),
        "title": message.__name__,
        "summary": first_line(message),
        "contentType": CONTENT_TYPE,
        "payload": payload,
        "bindings": {"amqp": {"messageType": message.wire_type()} | _BINDING},
        "x-amqp-properties": _properties(message),
    }
    headers: dict[str, Any] = {}
    if "attempt" in fields:
        headers[ATTEMPT_HEADER] = {"type": "integer", "minimum": 1}
    if "request_id" in fields:
        headers[TRACEPARENT_HEADER] = {"type": "string", "pattern": _TRACEPARENT}
        # The property correlation_id says the same; a location can name body and headers only.
        whole["correlationId"] = {"location": "$message.payload#/request_id"}
    if headers:
        whole["headers"] = {"type": "object", "properties": headers, "required": sorted(headers)}
    return whole


def _properties(message: type[Message]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "type": {"const": message.wire_type()},
        "content_type": {"const": CONTENT_TYPE},
        "delivery_mode": {"const": _PERSISTENT},
        "message_id": {"type": "string", "format": "uuid"},
        "timestamp": {"type": "integer", "description": "Seconds since the epoch."},
        "app_id": {"type": "string"},
        "user_id": {"type": "string", "description": "The sender's; the broker checks it."},
    }
    if "request_id" in message.model_fields:
        properties["correlation_id"] = {
            "type": "string",
            "format": "uuid",
            "description": "The id of the request.",
        }
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _types_on(channel: str) -> list[str]:
    """The messages of every operation on a channel, each once."""
    found = (m.wire_type() for one in OPERATIONS if one.channel == channel for m in one.messages)
    return list(dict.fromkeys(found))


def _manner(one: Operation) -> dict[str, Any]:
    if one.action == "send":
        return {"deliveryMode": _PERSISTENT, "mandatory": True}
    # By hand: once what the message caused is stored, a hint once it is read.
    return {"ack": True}


def _queue(queue: topology.Queue) -> dict[str, Any]:
    bound = "; ".join(f"`{exchange}` by `{routing}`" for exchange, routing in queue.bindings)
    return {
        "address": queue.name,
        "description": f"Queue ({queue.kind}), bound to {bound}.",
        "bindings": {
            "amqp": {
                "is": "queue",
                "queue": {**_lasting(queue.name), "exclusive": False},
            }
            | _BINDING
        },
    }


def _exchange(name: str, kind: str) -> dict[str, Any]:
    return {
        **_addressed(name),
        "bindings": {
            "amqp": {"is": "routingKey", "exchange": {**_lasting(name), "type": kind}} | _BINDING
        },
    }


def _lasting(name: str) -> dict[str, Any]:
    return {"name": name, "durable": True, "autoDelete": False, "vhost": topology.VHOST}


def _addressed(exchange: str) -> dict[str, Any]:
    """The routing keys with which an exchange is published to."""
    if exchange in map(topology.control_exchange, topology.POOLS):
        return {"address": None, "description": "Fanout: to the control queues of its labs."}
    if exchange in map(topology.events_exchange, topology.POOLS):
        keys = [*topology.OUTCOME_KEYS, *topology.HINT_KEYS]
        return {"address": "{event}", "parameters": {"event": {"enum": keys}}}
    return {"address": "{pool}.{model}", "parameters": _ROUTED}
