"""Dead letters for staff: to read, to send again and to put aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import display_for_value
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from messages.errors import ContractError
from messages.events import RUN_EVENTS
from web.access.caller import Caller, caller_of
from web.inference.letters import LeftAsItIs, discard, doubt_text, message_of, replay
from web.inference.models import DeadLetter, InferenceRequest, LettersBeyond
from web.readonly import ReadOnlyAdmin, column, titled

#: Letters that are named one by one before and after the deed; of more, how many.
_NAMED = 20

#: What the list shows, and what a letter's own page.
_LIST: Any = (
    column("received_at", _("received")),
    column("queue", _("queue")),
    column("reason", _("reason")),
    column("type", _("type")),
    "about",
    "settled",
)
_DETAIL: Any = (
    *_LIST,
    "why",
    column("user_id", _("sent by")),
    column("size", _("bytes")),
    column("content_type", _("content type")),
    column("message_id", _("message id")),
    column("correlation_id", _("correlation id")),
    column("routing_key", _("routing key")),
    "message",
)

#: Letters of these types need to know who has spoken.
_EVENTS = [event.wire_type() for event in RUN_EVENTS]

Deed = Callable[[int, Caller], str]


class SettledFilter(admin.SimpleListFilter):
    """What staff still has to look at, or what became of it."""

    title = _("dealt with")
    parameter_name = "settled"

    def lookups(self, request: Any, model_admin: Any) -> Any:  # noqa: ARG002
        """Not yet, or how."""
        choices = DeadLetter._meta.get_field("settled_as").choices  # noqa: SLF001
        return [("no", _("not yet")), *(choices or ())]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        """Those letters."""
        match self.value():
            case None:
                return queryset
            case "no":
                return queryset.filter(settled_at=None)
            case how:
                return queryset.filter(settled_as=how)


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """When, where and why. A body that is not ours stays in the database: it may hold anything."""

    list_display = _LIST
    list_filter = (
        SettledFilter,
        ("queue", titled(_("queue"))),
        ("reason", titled(_("reason"))),
        ("type", titled(_("type"))),
    )
    list_select_related = ("request", "settled_by")
    search_fields = ("=request__id", "=message_id", "=correlation_id")
    fields = readonly_fields = _DETAIL
    actions = ("replay_selected", "discard_selected")
    change_form_template = "labrelay/admin/dead_letter.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the bodies, which only a letter's own page reads."""
        return super().get_queryset(request).defer("body")

    def has_settle_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Staff with Django's own permission to change dead letters."""
        # Past the base class, by which nobody changes.
        return super(ReadOnlyAdmin, self).has_change_permission(request, obj)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Staff with Django's own permission to view or to change them."""
        return super().has_view_permission(request, obj) or self.has_settle_permission(request, obj)

    @admin.display(description=_("request"), ordering="request")
    def about(self, letter: DeadLetter) -> str:
        """The beginning of the request's id, and its state, with a link to its page."""
        row = letter.request
        if row is None:
            return "-"
        address = _address(row, self.admin_site)
        shown = (address, row.pk, str(row.pk)[:8], row.state)
        return format_html('<a href="{}" title="{}">{} {}</a>', *shown)

    @admin.display(description=_("dealt with"), ordering="settled_at")
    def settled(self, letter: DeadLetter) -> str:
        """How, when and by whom; nothing for an open letter."""
        if letter.settled_at is None:
            return "-"
        who = "" if letter.settled_by is None else letter.settled_by.get_username()
        when = display_for_value(letter.settled_at, "-")
        return f"{letter.get_settled_as_display()} {when} {who}".strip()

    @admin.display(description=_("why"))
    def why(self, letter: DeadLetter) -> str:
        """What its reason means, where it is one of the site's own."""
        return doubt_text(letter.reason) or "-"

    @admin.display(description=_("message"))
    def message(self, letter: DeadLetter) -> str:
        """The message as it was understood, or why it was not; never the bytes themselves."""
        try:
            shown = message_of(letter).model_dump(mode="json", exclude_none=True)
        except ContractError as exc:
            return format_html("<em>{}</em> {}", _("Cannot be read:"), exc)
        return format_html("<pre>{}</pre>", json.dumps(shown, indent=2, ensure_ascii=False))

    def change_view(
        self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """The letter's page, with buttons for those who may deal with it."""
        letter = self.get_object(request, object_id)
        may = letter is not None and letter.settled_at is None
        extra = {
            "may_settle": may and self.has_settle_permission(request, letter),
            "readable": letter is not None and _is_readable(letter),
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        kwargs["extra_context"] = {**(kwargs.get("extra_context") or {}), **extra}
        return super().change_view(request, object_id, *args, **kwargs)

    @admin.action(description=_("Replay the selected dead letters"), permissions=("settle",))
    def replay_selected(
        self, request: HttpRequest, letters: QuerySet[DeadLetter]
    ) -> HttpResponse | None:
        """Send them again."""
        lab = request.POST.get("lab", "")[:63]
        return self._deal(request, letters, "replay_selected", partial(replay, lab=lab))

    @admin.action(description=_("Discard the selected dead letters"), permissions=("settle",))
    def discard_selected(
        self, request: HttpRequest, letters: QuerySet[DeadLetter]
    ) -> HttpResponse | None:
        """Put them aside."""
        return self._deal(request, letters, "discard_selected", discard)

    def _deal(
        self, request: HttpRequest, letters: QuerySet[DeadLetter], action: str, deed: Deed
    ) -> HttpResponse | None:
        """Ask first, then do it; None leads back to the list."""
        if not request.POST.get("confirmed"):
            return self._asked(request, letters, action)
        caller, done, left = caller_of(request), 0, 0
        # The oldest first, as they died.
        for letter_id in letters.order_by("pk").values_list("pk", flat=True):
            try:
                sentence, level = deed(letter_id, caller), messages.SUCCESS
                done += 1
            except LeftAsItIs as exc:
                sentence, level = str(exc.sentence), messages.WARNING
                left += 1
            if done + left <= _NAMED:
                self.message_user(request, f"{letter_id}: {sentence}", level)
        if done + left > _NAMED:
            text = _("%(done)d dead letters were dealt with, %(left)d left as they are.")
            self.message_user(request, text % {"done": done, "left": left})
        return None

    def _asked(
        self, request: HttpRequest, letters: QuerySet[DeadLetter], action: str
    ) -> HttpResponse:
        count = letters.count()
        if action == "replay_selected":
            title = ngettext(
                "Replay %(count)d dead letter?", "Replay %(count)d dead letters?", count
            )
        else:
            title = ngettext(
                "Discard %(count)d dead letter?", "Discard %(count)d dead letters?", count
            )
        context = {
            **self.admin_site.each_context(request),
            "title": title % {"count": count},
            "opts": self.opts,
            "action": action,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "ids": letters.values_list("pk", flat=True),
            "named": letters.select_related("request")[:_NAMED],
            "more": max(0, count - _NAMED),
            "unsigned": action == "replay_selected"
            and letters.filter(user_id="", type__in=_EVENTS).exists(),
            "lab": request.POST.get("lab", "")[:63],
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "labrelay/admin/settle_letters.html", context)


@admin.register(LettersBeyond)
class LettersBeyondAdmin(ReadOnlyAdmin):
    """Whose letters were too many to be kept, and how many they were."""

    list_display = fields = readonly_fields = ("sender", "count", "last_at")


def address_of(letter: DeadLetter, site: admin.AdminSite) -> str:
    """Of the letter's page."""
    return _address(letter, site)


def _address(row: DeadLetter | InferenceRequest, site: admin.AdminSite) -> str:
    meta = row._meta  # noqa: SLF001 - Django's own documented way
    name = f"admin:{meta.app_label}_{meta.model_name}_change"
    return reverse(name, args=[row.pk], current_app=site.name)


def _is_readable(letter: DeadLetter) -> bool:
    try:
        message_of(letter)
    except ContractError:
        return False
    return True
