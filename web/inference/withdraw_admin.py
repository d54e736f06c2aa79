"""Withdrawing results in Django's admin: a page asks for the reason first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from web.access.caller import caller_of
from web.inference.models import InferenceRequest
from web.inference.result_state import MAX_REASON
from web.inference.withdraw import may_withdraw, withdraw
from web.refusals import Refused

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    # A class of its own beside the one of the list.
    Base = object

#: Results that are named before and after the deed.
_NAMED = 20

#: Results that are withdrawn together. The second page sends the id of each in a field of its own,
#: of which Django reads 1000 (``DATA_UPLOAD_MAX_NUMBER_FIELDS``); a host project may allow less.
MOST_AT_ONCE = 500

_TOO_MANY = _("Please choose at most %(most)s results at a time.")
_LEFT = _(
    "The result is withdrawn. Some of its objects were copied to another study, and stay there."
)


class Withdrawing(Base):
    """What the list of requests can do with results."""

    def has_withdraw_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Staff with Django's own permission to change requests."""
        return may_withdraw(caller_of(request))

    @admin.action(description=_("Withdraw the results"), permissions=("withdraw",))
    def withdraw_selected(
        self, request: HttpRequest, rows: QuerySet[InferenceRequest]
    ) -> HttpResponse | None:
        """Ask for the reason, then withdraw each; None leads back to the list."""
        if rows.count() > MOST_AT_ONCE:
            self.message_user(request, _TOO_MANY % {"most": MOST_AT_ONCE}, messages.ERROR)
            return None
        if not request.POST.get("confirmed"):
            return self._asked(request, rows)
        reason, objects_too = request.POST.get("reason", ""), bool(request.POST.get("objects"))
        caller = caller_of(request)
        for request_id in rows.order_by("created_at").values_list("pk", flat=True):
            try:
                done = withdraw(request_id, caller, reason, objects_too=objects_too)
                sentence, level = str(_("The result is withdrawn.")), messages.SUCCESS
                if done.left_elsewhere:
                    sentence, level = str(_LEFT), messages.WARNING
            except Refused as exc:
                sentence, level = str(exc.message), messages.WARNING
            self.message_user(request, f"{request_id}: {sentence}", level)
        return None

    def _asked(self, request: HttpRequest, rows: QuerySet[InferenceRequest]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Withdraw the results"),
            "opts": self.opts,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "ids": [str(pk) for pk in rows.values_list("pk", flat=True)],
            "named": rows[:_NAMED],
            "more": max(0, rows.count() - _NAMED),
            "max_reason": MAX_REASON,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "labrelay/admin/withdraw_results.html", context)
