"""`python3.11 -m infra.pins VENV web|consumer`: a site's or a lab's environment, by the pins."""

from __future__ import annotations

import sys

from infra.pins.install import main

sys.exit(main(sys.argv[1:]))
