"""The installation's own certificate authority, and the server certificates it issues."""

from aerodrome.pki.authority import Authority, ensure_authority
from aerodrome.pki.leaf import Served, issue
from aerodrome.pki.own import Certificates, names_in, pairs

__all__ = ["Authority", "Certificates", "Served", "ensure_authority", "issue", "names_in", "pairs"]
