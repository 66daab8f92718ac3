"""The sign that an `aerodrome down` waits for workers to finish.

While it stands, the control plane keeps serving (tasks need the front door and their credentials until they end), and
its reconciler starts nothing. `up` takes it away.
"""

from __future__ import annotations

from aerodrome.files import write_file
from aerodrome.layout import Layout


def begin(layout: Layout) -> None:
    write_file(layout.run / "draining", "", 0o600)


def end(layout: Layout) -> None:
    (layout.run / "draining").unlink(missing_ok=True)


def is_draining(layout: Layout) -> bool:
    """For the reconciler: whether nothing may be started now."""
    return (layout.run / "draining").exists()
