"""Measuring Aerodrome beside what else there is: `python -m bench.create`, `python -m bench.latency`."""

import sys
from pathlib import Path

# A real installation is driven by what the end-to-end tests drive it with.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
