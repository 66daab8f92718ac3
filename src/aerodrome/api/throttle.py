"""How many calls of InvokeRestApi an environment answers in a second, where somebody wants a limit (mwaa-spec 1.7)."""

from __future__ import annotations

import time
from collections.abc import Callable

from aerodrome.errors import ApiError

_MANY = 1000  # environments, above which those that haven't been called for a while are forgotten


class Throttle:
    """A bucket of tokens for each environment: `per_second` come in every second, a second's worth fits.

    None: no limit. `clock` counts seconds.
    """

    def __init__(self, per_second: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_second
        self._size = max(1.0, per_second or 0)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # environment id -> tokens, and when they were counted

    def take(self, environment_id: str) -> None:
        """Count one call.

        Raises:
            ApiError: ThrottlingException, 429: SDKs wait and try again.
        """
        if self._rate is None:
            return
        now = self._clock()
        if len(self._buckets) > _MANY:
            self._buckets = {
                name: bucket for name, bucket in self._buckets.items() if self._tokens(bucket, now) < self._size
            }
        tokens = self._tokens(self._buckets.get(environment_id, (self._size, now)), now)
        if tokens < 1:
            raise ApiError(
                "ThrottlingException",
                f"Rate exceeded: this environment answers {self._rate:g} calls of InvokeRestApi in a second; wait a"
                " moment, or raise AERODROME_REST_API_RATE.",
                429,
            )
        self._buckets[environment_id] = (tokens - 1, now)

    def _tokens(self, bucket: tuple[float, float], now: float) -> float:
        tokens, counted = bucket
        return min(self._size, tokens + (now - counted) * (self._rate or 0))
