"""How an old call is answered: always JSON, and an error is a sentence under ``error``."""

from __future__ import annotations

import json
from typing import Any

import structlog
from django.core.exceptions import DisallowedHost
from django.db import InterfaceError, OperationalError
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from web.database import DatabaseAway
from web.error_form import sentence_for
from web.orthanc import answers as archive_answers
from web.orthanc.errors import (
    ArchiveUnavailable,
    NotInArchive,
    TooLargeResult,
    UnreadableResult,
    UnusableAnswer,
)
from web.refusals import Refused

log = structlog.get_logger(__name__)

#: Status and body of an answer.
Answer = tuple[int, dict[str, Any]]

#: On every answer: it is about a patient's study, and it is JSON whatever a browser guesses.
HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class CallEnded(Exception):
    """The call ends here with a status and a sentence for the reader; nothing was queued."""

    def __init__(self, status: int, sentence: str | Promise) -> None:
        super().__init__(status)
        self.status = status
        self.sentence = sentence


def as_json(body: dict[str, Any]) -> bytes:
    """A body as it travels: the sentences can be read in a terminal."""
    return json.dumps(body, ensure_ascii=False).encode()


def error_answer(code: int, sentence: str | Promise, **more: Any) -> Answer:
    """An error in the form that the old front end reads."""
    return code, {"success": False, "error": str(sentence), **more}


def answer_to(error: Exception, **more: Any) -> Answer:
    """The answer to whatever a call ran into, in the active language."""
    status, sentence = _status_and_sentence(error)
    if status >= 500 and not isinstance(error, CallEnded):
        # With the lines it passed where nobody foresaw it.
        unforeseen = status == 500 and not isinstance(error, UnreadableResult)
        log.error(
            "legacy_call_failed",
            error=type(error).__name__,
            exc_info=error if unforeseen else None,
        )
    return error_answer(status, sentence, **more)


def _status_and_sentence(error: Exception) -> tuple[int, str | Promise]:
    match error:
        case CallEnded():
            answer = error.status, error.sentence
        case Refused():
            # The new interface has 422 where the old one had 400.
            answer = 400 if error.status == 422 else error.status, error.message
        case OperationalError() | InterfaceError() | DatabaseAway():
            answer = 503, _("The database does not answer. Please try again shortly.")
        case ArchiveUnavailable():
            answer = 503, _("The image archive does not answer. Please try again shortly.")
        case NotInArchive():
            answer = 404, _("This series is not in the archive.")
        case TooLargeResult() | UnusableAnswer():
            answer = archive_answers.status_and_sentence(error)
        case UnreadableResult():
            answer = 500, _("The stored result cannot be drawn on these images.")
        case DisallowedHost():
            answer = 400, sentence_for(400)
        case _:
            answer = 500, sentence_for(500)
    return answer
