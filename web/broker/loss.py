"""How the loss of a connection is told from a fault of ours, and what the log says of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ChannelInvalidStateError

from web.broker.errors import BrokerLost, BrokerProblem

#: What a lost connection raises. Not the plain RuntimeError of CONNECTION_EXCEPTIONS: in our own
#: code that is a fault of ours, and must be told as one.
LOST = (
    *(kind for kind in CONNECTION_EXCEPTIONS if kind is not RuntimeError),
    ChannelInvalidStateError,
    TimeoutError,
)


@contextmanager
def library() -> Iterator[None]:
    """Around calls of the library alone: there a plain RuntimeError means a closed connection."""
    try:
        yield
    except (*CONNECTION_EXCEPTIONS, TimeoutError) as exc:
        raise BrokerLost(named(exc)) from exc


def is_loss(exc: BaseException) -> bool:
    """Whether it says that the connection was lost, and nothing else."""
    # A task group wraps what ended it.
    if isinstance(exc, BaseExceptionGroup):
        return all(is_loss(one) for one in exc.exceptions)
    return isinstance(exc, (*LOST, BrokerProblem))


def named(exc: BaseException) -> str:
    """The class and the AMQP reply code; not the text, which may quote what was sent."""
    if isinstance(exc, BaseExceptionGroup):
        return named(exc.exceptions[0])
    code = next((str(arg) for arg in exc.args if isinstance(arg, int)), "")
    return f"{type(exc).__name__} {code}".rstrip()
