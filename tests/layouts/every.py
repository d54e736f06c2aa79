"""All studies, as each vendor writes them and as they go wrong."""

from __future__ import annotations

from tests.layouts import broken, clocks, contrasts, ge, old_calls, philips, siemens, starts

LAYOUTS = (
    *siemens.LAYOUTS,
    *ge.LAYOUTS,
    *philips.LAYOUTS,
    *clocks.LAYOUTS,
    *contrasts.LAYOUTS,
    *starts.LAYOUTS,
    *broken.LAYOUTS,
    *old_calls.LAYOUTS,
)
