"""How the tests start Debian's Chromium."""

from __future__ import annotations

#: Where Debian puts it.
CHROMIUM = "/usr/bin/chromium"

#: What keeps it from starting services of its own.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
