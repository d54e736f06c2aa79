"""JSON log lines on stderr with an `action` and ids, and without patient data or credentials."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

#: Frames of a traceback that a log line keeps, the innermost.
FRAMES = 8

#: Members of an exception group that a log line keeps.
MEMBERS = 4


def where_it_failed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace an exception by its type and the lines that it passed.

    Its text is left out: exceptions quote values, and a value may be a patient's name or a URL
    with a password.
    """
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event.update(_told(error))
    return event


def _told(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    told: dict[str, Any] = {
        "error": type(error).__name__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, BaseExceptionGroup):
        # The group's own lines say only who waited; the fault lies in its members.
        told["errors"] = [_told(one) for one in error.exceptions[:MEMBERS]]
    return told


def _the_action(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["action"] = event.pop("event", None)
    return event


def configuration(*, debug: bool) -> dict[str, Any]:
    """The ``LOGGING`` of Django; lines of libraries take the same form as ours."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    where_it_failed,
                    _the_action,
                    structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            # Django's own handlers would print a second line, in another form.
            "django": {"handlers": [], "level": "DEBUG" if debug else "INFO", "propagate": True},
            # DEBUG would print every query with its values.
            "django.db.backends": {"level": "INFO"},
            "django.template": {"level": "INFO"},
            "django.utils.autoreload": {"level": "INFO"},
            # They log every failed attempt with its frames; web/broker says it in one line.
            "aio_pika": {"level": "ERROR"},
            "aiormq": {"level": "CRITICAL"},
            # One line a request to the archive, with its URL.
            "httpx": {"level": "WARNING"},
        },
    }
