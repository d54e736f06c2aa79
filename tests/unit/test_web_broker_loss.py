"""A lost connection is told from a fault of ours."""

from __future__ import annotations

import pytest
from aio_pika.exceptions import ChannelInvalidStateError, ConnectionClosed

from web.broker.errors import BrokerLost
from web.broker.loss import is_loss, library, named


def test_a_loss_may_come_in_a_group_and_a_plain_runtime_error_is_ours() -> None:
    closed = ConnectionClosed(320, "CONNECTION_FORCED")
    assert is_loss(closed)
    assert is_loss(ExceptionGroup("x", [ChannelInvalidStateError(), TimeoutError()]))
    assert not is_loss(RuntimeError("ours"))
    assert not is_loss(ExceptionGroup("x", [closed, RuntimeError("ours")]))
    assert named(closed) == "ConnectionClosed 320"


def test_a_runtime_error_of_the_library_is_a_loss() -> None:
    with pytest.raises(BrokerLost, match="RuntimeError"), library():
        raise RuntimeError("Connection was not opened")
