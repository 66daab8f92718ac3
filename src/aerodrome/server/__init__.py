"""The control plane: the composition root. The only wide importer."""

import sys

# httpx brings its own command line along when it can, and rich and pygments with it: 3 MB that nobody uses here.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None: "can't be imported"
# Another framework in place of asyncio, which httpcore prepares for where it happens to be installed: 4 MB.
sys.modules.setdefault("trio", None)  # type: ignore[arg-type]
