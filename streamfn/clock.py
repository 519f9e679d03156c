"""Time and chance as ports: the engine asks these two and never ``time`` or ``random``.

Invariant: ``monotonic_s`` never goes back; ``now_ms`` may. Records carry their own timestamps; this
clock only decides when to commit, fire wall-clock timers and retry.
"""

import os
import time
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time, elapsed time, and waiting."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start, never going back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        ...


class Random(Protocol):
    """Chance: a source of unique tokens and identities."""

    def token(self) -> str:
        """Sixteen hexadecimal digits, never the same twice."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start, never going back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to (or slept on): virtual time for tests."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = float(now_ms)

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self._now_ms)

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start, never going back."""
        return self._now_ms / 1000

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        self._now_ms += seconds * 1000

    def advance_ms(self, milliseconds: int) -> None:
        """Move time on."""
        self._now_ms += milliseconds


class SystemRandom:
    """The operating system's entropy."""

    def token(self) -> str:
        """Sixteen hexadecimal digits, never the same twice."""
        return os.urandom(8).hex()


class CountingRandom:
    """Tokens that count up from a seed: the same ones in each run of a test."""

    def __init__(self, seed: int = 0) -> None:
        self._next = seed

    def token(self) -> str:
        """Sixteen hexadecimal digits, never the same twice."""
        self._next += 1
        return f"{self._next:016x}"
