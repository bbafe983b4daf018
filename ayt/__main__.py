"""``python -m ayt`` is the command ``ayt``."""

import sys

from ayt.cli import main

sys.exit(main())
