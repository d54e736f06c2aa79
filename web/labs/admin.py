"""Labs for staff: to look at."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from web.labs.models import Lab
from web.readonly import ReadOnlyAdmin


@admin.register(Lab)
class LabAdmin(ReadOnlyAdmin):
    """Who is there, since when not, and what staff have to do about it.

    Confirming a lab takes the broker too, so a command does both: ``mri-web lab add``.
    """

    list_display = ("name", "pool", "device", "last_seen", "to_do")
    fields = readonly_fields = (*list_display, "confirmed_at", "confirmed_by", "clock", "models")

    @admin.display(description=_("to do"))
    def to_do(self, lab: Lab) -> str:
        """What is wrong with it; nothing where all is well."""
        if lab.confirmed_at is None:
            text = _("To be confirmed: mri-web lab add %(name)s --pool %(pool)s")
            return text % {"name": lab.name, "pool": lab.told_pool or lab.pool}
        said = []
        if lab.conflict:
            text = _("It says that it serves the pool %(pool)s: correct its LAB_POOL.")
            said.append(text % {"pool": lab.told_pool})
        if lab.clock_is_wrong:
            said.append(_("Its clock is wrong by %(clock)s: set it.") % {"clock": self.clock(lab)})
        return " ".join(map(str, said))

    @admin.display(description=_("clock"))
    def clock(self, lab: Lab) -> str:
        """By how much its clock differs from the site's."""
        if lab.skew is None:
            return "-"
        way = _("behind") if lab.skew > 0 else _("ahead")
        return f"{abs(lab.skew):.0f} s {way}"
