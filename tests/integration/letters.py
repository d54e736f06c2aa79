"""Dead letters as the site stores them, and staff who may deal with them, for tests."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client

from messages.codec import encode
from messages.envelope import Message
from messages.events import RunEvent
from messages.request import InferenceRequested
from tests.integration.web_requests import REPLIES, known_labs, write_request
from web.access.audit import Way
from web.access.caller import Caller
from web.access.grants import EVERYTHING
from web.broker.dead_letters import Letter, store
from web.inference.models import DeadLetter, InferenceRequest

#: Of a command on the server.
STAFF = Caller(user=None, way=Way.COMMAND, address=None, scope=EVERYTHING)


def asked(row: InferenceRequest) -> InferenceRequested:
    """The message of the request's present attempt."""
    return InferenceRequested(
        request_id=row.pk,
        attempt=row.attempt,
        pool=row.pool,
        model=row.model,
        study_uid=row.study_uid,
        inputs=row.inputs,
        deadline_s=row.deadline_s,
    )


def letter_of(message: Message, queue: str = "mri.requests.lab", **more: Any) -> DeadLetter:
    """Store the message as one that died."""
    wire = encode(message, app_id="test")
    if isinstance(message, RunEvent):
        more = {"user_id": message.lab, "queue": REPLIES, **more}
    return stored_letter(
        type=wire.type,
        message_id=wire.message_id,
        correlation_id=wire.correlation_id or "",
        content_type=wire.content_type,
        body=wire.body,
        **{"queue": queue, **more},
    )


def stored_letter(**values: Any) -> DeadLetter:
    """Store what was found in ``mri.dead``; garbage unless something else is given."""
    texts = ("message_id", "correlation_id", "content_type")
    usual = {"queue": REPLIES, "reason": "rejected", "type": "garbage", "body": b"\xff"}
    known_labs()
    store(Letter(**{**dict.fromkeys(texts, ""), "routing_key": "lab.any", **usual, **values}))
    return DeadLetter.objects.order_by("pk").last()


def dead_request(**values: Any) -> tuple[InferenceRequest, DeadLetter]:
    """A request that died, and its letter; `values` are set in the row before."""
    row = write_request()
    if values:
        InferenceRequest.objects.filter(pk=row.pk).update(**values)
        row.refresh_from_db()
    letter = letter_of(asked(row))
    row.refresh_from_db()
    return row, letter


def staff_member(*permissions: str, name: str = "staff") -> Client:
    """A browser of somebody who may use the admin, with these permissions on dead letters."""
    user = User.objects.create_user(name, is_staff=True)
    for word in permissions:
        user.user_permissions.add(
            Permission.objects.get(
                codename=f"{word}_deadletter", content_type__app_label="labrelay_inference"
            )
        )
    client = Client()
    client.force_login(user)
    return client
