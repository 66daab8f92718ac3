"""The vault, under the name that stores and their users know it by."""

from __future__ import annotations

from aerodrome.vault import DataKey, KeyUnusable, MasterKeyFiles, Seal, Vault

__all__ = ["DataKey", "KeyUnusable", "MasterKeyFiles", "Seal", "Vault"]
