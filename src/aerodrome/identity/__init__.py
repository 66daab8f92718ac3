"""Who calls: signatures verified, and what a caller may do."""

from aerodrome.identity.scope import Scope, parse_scope
from aerodrome.identity.sigv4 import Caller, Verifier
from aerodrome.identity.source import PrincipalSource

__all__ = ["Caller", "PrincipalSource", "Scope", "Verifier", "parse_scope"]
