"""Logs on standard error, one line each, with the ids of the job that speaks."""

from __future__ import annotations

import io
import logging
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

#: json: for programs. text: for a person at a terminal. journal: text for systemd, whose journal
#: has the time itself and reads a priority (sd-daemon(3)) in front.
LogFormat = Literal["json", "text", "journal"]

#: syslog(3) priorities of the log levels.
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}

#: Said in front of the line, or by the event itself.
_SPOKEN = ("event", "level", "timestamp", "action", "request_id")


class _Spared(io.TextIOBase):
    """Passes text on at once; what cannot be written is lost, and nothing but that.

    On a full disk, or with a closed pipe, the line of a log must not end a job. Nothing may stay
    in a buffer either: multiprocessing flushes standard error before it starts a child.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        #: The file itself; None where a test reads along.
        self._raw = getattr(getattr(stream, "buffer", None), "raw", None)

    def write(self, text: str) -> int:
        with suppress(OSError):
            if self._raw is None:
                self._stream.write(text)
            else:
                self._raw.write(text.encode(self._stream.encoding, "backslashreplace"))
        return len(text)


def _without_exception_text(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace an exception by its type and its frames: its text may quote a DICOM value."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        event["error"] = type(error).__name__
        event["frames"] = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[-8:]]
    return event


def configure(form: LogFormat = "json") -> None:
    """Send our own logs and those of libraries, from warnings up, through one renderer."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_exception_text,
    ]
    renderer = _renderer(form)
    stream = cast("TextIO", _Spared(sys.stderr))
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared)
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # pika logs connection trouble with addresses and its own reasons; ours says it once.
    logging.getLogger("pika").setLevel(logging.CRITICAL)


def _renderer(form: LogFormat) -> Processor:
    if form == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return _priority_first if form == "journal" else _time_first


def _priority_first(_logger: object, _method: str, event: EventDict) -> str:
    return f"<{_PRIORITIES.get(str(event.get('level')), 6)}>{sentence(event)}"


def _time_first(_logger: object, _method: str, event: EventDict) -> str:
    return f"{event.get('timestamp', '')} {event.get('level', ''):8} {sentence(event)}"


def sentence(event: EventDict) -> str:
    """One readable line: ``request 1a2b… failed code=too_large``; the id is whole, for grep."""
    subject = f"request {event['request_id']} " if "request_id" in event else ""
    rest = " ".join(f"{k}={_value(v)}" for k, v in event.items() if k not in _SPOKEN)
    # A line break would be a second line, without a priority.
    return " ".join(f"{subject}{event.get('event', '')} {rest}".split())


def _value(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f'"{text}"' if " " in text else text
