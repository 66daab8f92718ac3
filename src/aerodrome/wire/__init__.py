"""The AWS protocol: requests and answers as botocore's service models describe them, and no shape written by hand."""

from aerodrome.wire.reply import Reply
from aerodrome.wire.routes import Match
from aerodrome.wire.service import Wire

__all__ = ["Match", "Reply", "Wire"]
