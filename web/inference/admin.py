"""Requests for staff: to look at, with their history and their dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from web.inference import letter_admin, verdict_admin  # noqa: F401 - importing registers
from web.inference.models import DeadLetter, InferenceRequest, RequestEvent
from web.inference.supersession import supersession_of, with_supersession
from web.inference.withdraw_admin import Withdrawing
from web.readonly import ReadOnlyAdmin, column, titled

if TYPE_CHECKING:
    Inline = admin.TabularInline[Any, Any]
else:
    # Only the stubs know the parameters.
    Inline = admin.TabularInline


#: Columns of a request's history.
_HISTORY: Any = (
    column("state", _("state")),
    column("at", _("at")),
    column("attempt", _("attempt")),
    column("delivery", _("delivery")),
    column("lab", _("lab")),
    column("code", _("reason")),
)


class HistoryInline(Inline):
    """What became of the request, oldest first."""

    model = RequestEvent
    verbose_name_plural = _("history")
    fields = readonly_fields = _HISTORY
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Nobody adds."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Whoever sees the request."""
        return True

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Nobody changes."""
        return False


@admin.register(InferenceRequest)
class InferenceRequestAdmin(Withdrawing, ReadOnlyAdmin):
    """Newest first; by state and lab."""

    list_display = (
        column("id", _("request")),
        column("state", _("state")),
        column("model", _("model")),
        column("created_at", _("asked for")),
        column("finished_at", _("ended")),
        column("lab", _("lab")),
        column("failure_code", _("reason")),
        column("input_state", _("images")),
        column("result_state", _("result")),
        "replaced_by",
    )
    list_filter = (
        ("state", titled(_("state"))),
        ("model", titled(_("model"))),
        ("lab", titled(_("lab"))),
        ("input_state", titled(_("images"))),
        ("result_state", titled(_("result"))),
    )
    ordering = ("-created_at",)
    search_fields = ("=id", "=study_id")
    readonly_fields = ("dead_letters", "replaced_by")
    inlines = (HistoryInline,)
    actions = ("withdraw_selected",)

    def get_queryset(self, request: HttpRequest) -> Any:
        """With what has become of each result, in the query of the list."""
        return with_supersession(super().get_queryset(request))

    @admin.display(description=_("replaced by"))
    def replaced_by(self, row: InferenceRequest) -> str:
        """The request whose result holds in the place of this one."""
        return str(supersession_of(row).superseded_by or "-")

    @admin.display(description=_("dead letters"))
    def dead_letters(self, row: InferenceRequest) -> str:
        """Each with a link to its page."""
        letters = DeadLetter.objects.filter(request=row).defer("body")
        links = [(letter_admin.address_of(letter, self.admin_site), letter) for letter in letters]
        return format_html_join(", ", '<a href="{}">{}</a>', links) or "-"
