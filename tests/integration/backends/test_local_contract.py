from __future__ import annotations

from support.backend_contract import BackendContract


class TestLocalBackend(BackendContract):
    """`harness` comes from conftest."""
