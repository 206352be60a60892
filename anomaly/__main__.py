"""``python -m anomaly`` is ``anomaly``."""

import sys

from anomaly.cli import main

if __name__ == "__main__":
    sys.exit(main())
