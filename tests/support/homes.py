"""Homes that hold what `make_home` puts first: a master key."""

from __future__ import annotations

from pathlib import Path

from aerodrome.layout import Layout


def home_with_key(home: Path) -> Layout:
    """The same key in each."""
    layout = Layout(home)
    layout.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
    layout.master_key.write_bytes(b"k" * 32)
    layout.master_key.chmod(0o600)
    return layout
