"""Log lines on stderr with an `action` and ids, and without patient data or credentials."""

from __future__ import annotations

import sys
import traceback
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, WrappedLogger

from web.routes import RouteOnly

#: json: for programs. text: for a person at a terminal. journal: text for systemd, whose journal
#: has the time itself and reads a priority (sd-daemon(3)) in front.
LogFormat = Literal["json", "text", "journal"]

#: syslog(3) priorities of the log levels.
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}

#: Said in front of the line, or by the event itself.
_SPOKEN = ("action", "level", "timestamp", "logger", "request_id")

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
        event.update(_described(error))
    return event


def _described(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    described: dict[str, Any] = {
        "error": type(error).__name__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, BaseExceptionGroup):
        # The group's own lines say only who waited; the fault lies in its members.
        described["errors"] = [_described(one) for one in error.exceptions[:MEMBERS]]
    return described


def _the_action(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["action"] = event.pop("event", None)
    return event


def sentence(event: EventDict) -> str:
    """One readable line: ``request 1a2b… failed code=too_large``; the id is whole, for grep."""
    subject = f"request {event['request_id']} " if "request_id" in event else ""
    action = str(event.get("action") or "").replace("_", " ")
    rest = " ".join(f"{k}={_value(v)}" for k, v in event.items() if k not in _SPOKEN)
    # A line break would be a second line, without a priority.
    return " ".join(f"{subject}{action} {rest}".split())


def _value(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f'"{text}"' if " " in text else text


def _priority_first(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return f"<{_PRIORITIES.get(str(event.get('level')), 6)}>{sentence(event)}"


def _time_first(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return f"{event.get('timestamp', '')} {event.get('level', ''):8} {sentence(event)}"


def into_logging() -> None:
    """Hand our lines to a host project's ``LOGGING``, each as one line of JSON.

    structlog's own default would print the variables of every frame of a traceback.
    """
    structlog.configure(
        processors=[
            *_shared(),
            where_it_failed,
            _the_action,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _shared() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def configuration(*, debug: bool, form: LogFormat = "json") -> dict[str, Any]:
    """The ``LOGGING`` of Django; lines of libraries take the same form as ours."""
    renderers: dict[LogFormat, Any] = {
        "json": structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        "text": _time_first,
        "journal": _priority_first,
    }
    shared = _shared()
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
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    where_it_failed,
                    _the_action,
                    renderers[form],
                ],
            }
        },
        "filters": {
            "route": {"()": RouteOnly},
            # By name: it would import what needs the settings that this is part of.
            "answered": {"()": "web.live.refusing.Answered"},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["answered", "route"],
            }
        },
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
            # It quotes DICOM values in what it warns of.
            "pydicom": {"level": "CRITICAL"},
            # One line a request to the archive, with its URL.
            "httpx": {"level": "WARNING"},
        },
    }
