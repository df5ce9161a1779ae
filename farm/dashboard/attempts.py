"""Wrong tokens, counted: whoever has shown too many has to wait."""

from __future__ import annotations

import threading

_MOST = 10
_WITHIN_S = 60.0
# More addresses than this are not remembered: the oldest are forgotten.
_MOST_ADDRESSES = 10_000


class Attempts:
    """The wrong tokens of the last minute by who showed them; of one process."""

    def __init__(self) -> None:
        self._moments_s: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def allowed(self, who: str, now_s: float) -> bool:
        """Whether another attempt is taken."""
        with self._lock:
            return len(self._recent(who, now_s)) < _MOST

    def failed(self, who: str, now_s: float) -> None:
        """One more wrong token."""
        with self._lock:
            recent = [*self._recent(who, now_s), now_s]
            self._moments_s.pop(who, None)
            self._moments_s[who] = recent
            if len(self._moments_s) > _MOST_ADDRESSES:
                del self._moments_s[next(iter(self._moments_s))]

    def _recent(self, who: str, now_s: float) -> list[float]:
        return [moment for moment in self._moments_s.get(who, ()) if moment > now_s - _WITHIN_S]
