"""What an open page was told, against what a fresh load shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.faults.fault import Fault


def page_faults(
    name: str, told: dict[str, Any] | None, shown: dict[str, Any], ends: Sequence[str]
) -> list[Fault]:
    """One outcome, and the newest word of the socket is a fresh load, whole.

    No field is left out: both are `web.inference.presentation.RequestView`, in the language of a
    reader who asks for none, and every change of a row raises its version. `ends` are the
    outcomes that the page was told.
    """
    found = []
    if not shown:
        found.append(Fault(f"{name}: a fresh load shows nothing"))
    elif not told:
        found.append(Fault(f"{name}: the open page was told nothing"))
    elif told.get("version") != shown.get("version"):
        found.append(
            Fault(
                f"{name}: the open page says {told.get('state')} in version {told.get('version')}, "
                f"a load {shown.get('state')} in version {shown.get('version')}"
            )
        )
    elif told != shown:
        fields = ", ".join(differences(told, shown))
        found.append(Fault(f"{name}: the open page and a load tell different things: {fields}"))
    if len(ends) > 1:
        found.append(Fault(f"{name}: the open page saw several outcomes: {', '.join(ends)}"))
    return found


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The fields in which the two differ."""
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
