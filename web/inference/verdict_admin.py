"""Verdicts for staff: to read, and to take away as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from web.access.audit import Action
from web.access.caller import caller_of
from web.inference.models import InferenceRequest
from web.inference.supersession import supersession_of, with_supersession
from web.inference.verdict import Verdict
from web.readonly import ReadOnlyAdmin, column, titled

#: Of the table; programs read them, so they are not translated.
COLUMNS = (
    "at",
    "decision",
    "text",
    "by",
    "request_id",
    "study_id",
    "model",
    "model_version",
    "bundle_sha256",
    "tumor_detected",
    "volume_ml",
    "longest_diameter_mm",
    "lab",
    "completed_at",
    "superseded_by",
)

#: What spreadsheets take for the beginning of a formula, full width too.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

#: Verdicts whose requests and readers are looked up together.
_BATCH = 200


@admin.register(Verdict)
class VerdictAdmin(ReadOnlyAdmin):
    """Newest first; by decision and model."""

    list_display = (
        column("at", _("at")),
        column("decision", _("decision")),
        column("text", _("text")),
        "who",
        "about",
        "of_model",
    )
    list_display_links = None
    list_filter = (
        ("decision", titled(_("decision"))),
        ("request__model", titled(_("model"))),
    )
    list_select_related = ("request", "by")
    date_hierarchy = "at"
    search_fields = ("=request__id", "=request__study_id")
    actions = ("as_csv",)

    @admin.display(description=_("user"), ordering="by_id")
    def who(self, verdict: Verdict) -> str:
        """The reader; of one who is deleted, the number."""
        user = verdict.by
        return str(verdict.by_id or "") if user is None else user.get_username()

    @admin.display(description=_("request"), ordering="request_id")
    def about(self, verdict: Verdict) -> str:
        """The id of the request."""
        return str(verdict.request_id)

    @admin.display(description=_("model"), ordering="request__model")
    def of_model(self, verdict: Verdict) -> str:
        """The model of the result."""
        return verdict.request.model

    @admin.action(description=_("Export the selected verdicts as CSV"), permissions=["view"])
    def as_csv(self, request: HttpRequest, chosen: QuerySet[Verdict]) -> HttpResponse:
        """The chosen ones as a table, and an entry in the audit trail that they were taken."""
        caller = caller_of(request)
        with transaction.atomic():
            caller.note(Action.VERDICTS_EXPORTED)
            table = as_table(chosen)
        name = f"verdicts-{timezone.now():%Y%m%d-%H%M%S}.csv"
        return HttpResponse(
            # With a mark in front, or Excel reads Korean as something else.
            table.encode("utf-8-sig"),
            content_type="text/csv; charset=utf-8",
            headers={
                "Content-Disposition": f'attachment; filename="{name}"',
                "Cache-Control": "no-store",
            },
        )


def as_table(verdicts: QuerySet[Verdict]) -> str:
    """The verdicts as RFC 4180 has a table, oldest first; no cell is a formula."""
    table = io.StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for batch in _batches(verdicts.order_by("at", "pk")):
        writer.writerows([_harmless(cell) for cell in line] for line in _lines(batch))
    return table.getvalue()


def _batches(verdicts: QuerySet[Verdict]) -> Iterator[list[Verdict]]:
    keys = list(verdicts.values_list("pk", flat=True))
    for start in range(0, len(keys), _BATCH):
        of_these = Verdict.objects.filter(pk__in=keys[start : start + _BATCH])
        yield list(of_these.order_by("at", "pk"))


def _lines(verdicts: list[Verdict]) -> Iterator[list[Any]]:
    names = _names(verdicts)
    about = {one.request_id for one in verdicts}
    rows = {row.pk: row for row in with_supersession(InferenceRequest.objects.filter(pk__in=about))}
    for one in verdicts:
        row = rows[one.request_id]
        result = row.result or {}
        model = result.get("model") or {}
        yield [
            one.at.isoformat(timespec="seconds"),
            one.decision,
            one.text,
            names.get(one.by_id, str(one.by_id or "")),
            row.pk,
            row.study_id,
            row.model,
            model.get("version", ""),
            model.get("sha256", ""),
            result.get("tumor_detected", ""),
            result.get("volume_ml", ""),
            result.get("longest_diameter_mm", ""),
            row.lab,
            row.finished_at.isoformat(timespec="seconds") if row.finished_at else "",
            supersession_of(row).superseded_by or "",
        ]


def _names(verdicts: Iterable[Verdict]) -> dict[int | None, str]:
    users = get_user_model().objects.in_bulk({one.by_id for one in verdicts if one.by_id})
    return {key: user.get_username() for key, user in users.items()}


def _harmless(cell: Any) -> str:
    """The cell with a quote in front where a spreadsheet would compute it.

    OWASP, "CSV Injection". A quote and not a blank: spreadsheets strip blanks and compute again.
    """
    text = str(cell)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULAS) else text
