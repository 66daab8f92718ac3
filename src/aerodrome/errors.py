"""Every error that Aerodrome raises on purpose.

    AerodromeError
    ├── Temporary        try again after `retry_after` seconds; the world may mend itself
    ├── Permanent        trying again changes nothing; the message says what would
    └── ApiError         an answer to an API caller: AWS error code, HTTP status, message

`Temporary` and `Permanent` steer the reconciler; `ApiError` is turned into a wire answer by one middleware.
"""

from __future__ import annotations

from collections.abc import Mapping


class AerodromeError(Exception):
    """Root of the tree; never raised itself."""


class Temporary(AerodromeError):
    """A failure that may pass. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float = 2.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Permanent(AerodromeError):
    """A failure that stays until somebody changes something. `detail` holds the last log lines, if any."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class ApiError(AerodromeError):
    """An error answer of the AWS API: `code` is the shape's name, `status` the HTTP status.

    `members` are further members of a modelled error shape (`RestApiStatusCode`, say).
    """

    def __init__(self, code: str, message: str, status: int = 400, members: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.members = dict(members or {})


def validation_error(message: str) -> ApiError:
    """MWAA's answer to bad input: `ValidationException`, 400."""
    return ApiError("ValidationException", message, 400)


def not_found(message: str) -> ApiError:
    """MWAA's answer to an unknown environment: `ResourceNotFoundException`, 404."""
    return ApiError("ResourceNotFoundException", message, 404)


def access_denied(message: str) -> ApiError:
    """`AccessDeniedException`, 403 (mwaa-spec 1.6)."""
    return ApiError("AccessDeniedException", message, 403)
