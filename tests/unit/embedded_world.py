"""An embedded log that tests close, open again, and break."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from streamfn.clock import CountingRandom, ManualClock
from streamfn.connectors.embedded import EmbeddedLog, open_embedded
from streamfn.errors import StateError
from streamfn.record import TopicPartition
from streamfn.rocks import Memory

A0 = TopicPartition("a", 0)


class World:
    """A log that can be closed and opened again, over one database, with a clock of its own."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.clock, self.random = ManualClock(), CountingRandom()
        self.disk = Memory().disk
        self.log = self.opened()

    def opened(self) -> EmbeddedLog:
        """Open the log with a producer."""
        if self.path is not None:
            log = open_embedded(self.path, clock=self.clock, random=self.random)
        else:
            log = EmbeddedLog(
                lambda: Memory(disk=self.disk), clock=self.clock, random=self.random, group="g"
            )
        log.open_producer()
        return log

    def reopen(self) -> EmbeddedLog:
        """Close and open."""
        self.log.close()
        self.log = self.opened()
        return self.log


class Failing(Memory):
    """A database whose next write fails, before or after it was done."""

    fail: str = ""

    def write(
        self,
        changes: Mapping[str, Mapping[bytes, bytes | None]],
        delete_ranges: Iterable[tuple[str, bytes, bytes]] = (),
        *,
        sync: bool = False,
    ) -> None:
        """Write, and fail if told to."""
        if self.fail != "before":
            super().write(changes, delete_ranges, sync=sync)
        if self.fail:
            message = "disk full"
            raise StateError(message)
