"""The link to the viewer, or the sentence why there is none."""

from __future__ import annotations

from typing import Any

from django import template
from django.urls import NoReverseMatch, reverse

from web.viewer.files import is_there

register = template.Library()


@register.inclusion_tag("labrelay/open_viewer.html")
def open_in_viewer(study_id: str) -> dict[str, Any]:
    """``{% open_in_viewer study.study_id %}``: the same before and after an analysis."""
    try:
        address = reverse("labrelay_viewer:open", args=[study_id])
    except NoReverseMatch:
        # A host project that has not included `web.viewer.urls`.
        address = ""
    return {"address": address if is_there() else ""}
