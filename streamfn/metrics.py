"""Counters of a run: plain numbers, kept by the engine, shown by the command line and exporters.

Invariant: counting never fails and never blocks; a number here is for people, the engine decides
nothing by it. A record is counted once where it enters a task; a dropped one also under its reason.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field

log = logging.getLogger("streamfn")


@dataclass(slots=True)
class Metrics:
    """What happened since the start of this worker."""

    records: int = 0
    """Input records processed (also those skipped or sent to dead letters)."""
    outputs: int = 0
    changelog_records: int = 0
    commits: int = 0
    commit_s: float = 0.0
    rewinds: int = 0
    rebalances: int = 0
    """How often tokens came or went."""
    trims_failed: int = 0
    restored_records: int = 0
    skipped: int = 0
    dead_letters: int = 0
    retries: int = 0
    rows_loaded: int = 0
    rows_rejected: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    """Records dropped by reason and stage, such as ``null key at carrier_delay``."""

    def drop(self, reason: str, stage: str) -> None:
        """Count a dropped record and warn of the first of its kind."""
        name = f"{reason} at {stage}"
        if not self.dropped[name]:
            log.warning("record dropped: %s; further ones are only counted", name)
        self.dropped[name] += 1
