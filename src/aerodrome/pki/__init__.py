"""The installation's own certificate authority, and the server certificates it issues."""

from aerodrome.pki.authority import Authority, ensure_authority
from aerodrome.pki.leaf import issue

__all__ = ["Authority", "ensure_authority", "issue"]
