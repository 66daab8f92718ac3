"""`PYTHON -I PATH/shim --config FILE`: a directory has no package, so give it one before importing the rest."""

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path[0] = str(here.parent)
    importlib.import_module(f"{here.name}.server").main()
