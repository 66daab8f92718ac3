"""The sign that an `aerodrome down` waits for workers to finish.

While it stands, the control plane keeps serving (tasks need the front door and their credentials until they end), and
its reconciler starts nothing. `up` takes it away.
"""

from __future__ import annotations

from pathlib import Path

from aerodrome.files import write_file
from aerodrome.layout import Layout


def sign(layout: Layout) -> Path:
    return layout.run / "draining"


def begin(layout: Layout) -> None:
    write_file(sign(layout), "", 0o600)


def end(layout: Layout) -> None:
    sign(layout).unlink(missing_ok=True)


def is_draining(layout: Layout) -> bool:
    """For the reconciler: whether nothing may be started now."""
    return sign(layout).exists()
