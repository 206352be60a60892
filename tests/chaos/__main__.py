"""``python -m tests.chaos``: draw scenarios, run them, print a table; exit code 1 if one was not exact."""

from __future__ import annotations

import sys

from tests.chaos.campaign import main

sys.exit(main(sys.argv[1:]))
