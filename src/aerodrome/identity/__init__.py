"""Who calls: signatures verified, and what a caller may do."""

from aerodrome.identity.scope import Scope, parse_scope
from aerodrome.identity.sigv4 import Caller, Verifier

__all__ = ["Caller", "Scope", "Verifier", "parse_scope"]
