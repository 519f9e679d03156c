"""Bring a task's stores to the end of their changelogs before it runs, a slice at a time.

Committed changelog records go into the store; other tasks run between the slices. The end is the
*uncommitted* one, asked after the stable input positions, so that nothing a predecessor committed
can be missed (protocol §2.6). Invariant: when ``step`` says done, the stores equal the changelogs
folded up to the committed positions.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from streamfn.clock import Clock
from streamfn.config import Config
from streamfn.connectors.log import Committed, Log
from streamfn.engine.marks import changelogs_of, made_anew, mark_of, token_of
from streamfn.engine.task import Task
from streamfn.errors import LogError, SerdeError, StateCorruptedError, StateTypeError, StopError
from streamfn.graph.stores import decode_entry, layout_of
from streamfn.metrics import Metrics
from streamfn.record import Batch, TopicPartition
from streamfn.serde import fingerprint, incompatibility, type_name

log_ = logging.getLogger("streamfn")

FORMAT_VERSION = 1
ANSWERED_S = 30.0
"""What a changelog has left to go on once a silent log answers again."""


class Restore:
    """The restore of one task; ``step`` until it is done."""

    def __init__(
        self,
        task: Task,
        log: Log,
        clock: Clock,
        metrics: Metrics,
        config: Config,
        committed: Mapping[TopicPartition, Committed],
    ) -> None:
        self.task, self._log, self._clock = task, log, clock
        self._metrics, self._config = metrics, config
        self._committed = committed
        self._changelogs = {
            name: TopicPartition(task.plan.changelog(name), task.partition)
            for name in task.subtopology.stores
        }
        self._ids = self._known_ids()
        self._ends = log.end_offsets(self._changelogs.values())
        self._started_s = clock.monotonic_s()
        self._reads: list[tuple[str, Iterator[Batch], bool]] = []
        self._waiting = False
        self._at: dict[str, int] = {}
        self._from: dict[str, int] = {}
        self.remaining = 0
        """Changelog offsets still to read, for progress."""
        self._prepare()

    @staticmethod
    def known_sources(task: Task, log: Log) -> list[str]:
        """Topics that the task's state has read: their positions must be known.

        A store that is gone, or of another log, says nothing; then records in its changelog say
        that there was one, and a position of any input that none is lost: the others are new.
        """
        try:
            meta = task.home.store.meta()
        except StateCorruptedError:
            meta = {}
        identity = json.loads(meta.get("identity", b"{}"))
        if "sources" in meta and identity.get("cluster") == log.cluster_id:
            return list(json.loads(meta["sources"]))
        changelogs = [
            TopicPartition(task.plan.changelog(name), task.partition)
            for name in task.subtopology.stores
        ]
        lost = any(log.end_offsets(changelogs).values()) and not log.committed(task.sources)
        return [source.topic for source in task.sources] if lost else []

    def _known_ids(self) -> dict[str, str]:
        """Return the id of each store's changelog.

        Raises:
            StopError: one was deleted since and made anew: the state would be lost without a word.
        """
        topics = self._log.topics(each.topic for each in self._changelogs.values())
        missing = [tp.topic for tp in self._changelogs.values() if tp.topic not in topics]
        if missing:
            message = (
                f"changelog {missing[0]!r} of task {self.task.name!r} does not exist; got none of "
                "that name; if it was deleted, start over: streamfn reset"
            )
            raise LogError(message, retriable=True)
        ids = {name: topics[tp.topic].id for name, tp in self._changelogs.items()}
        lost = made_anew(map(mark_of, self._committed.values()), ids)
        if lost:
            names = ", ".join(str(self._changelogs[store]) for store in lost)
            message = (
                f"changelog {names} is not the one that the state of task {self.task.name!r} went "
                "to; it was deleted and made anew; start over: streamfn reset, or accept that "
                f"store {lost[0]!r} is empty: streamfn reset --store {lost[0]}"
            )
            raise StopError(message)
        self.task.changelogs = changelogs_of(ids)
        return ids

    # what is there
    def _prepare(self) -> None:
        meta = self._checked_meta()
        self._check_types(meta)
        begins = self._log.begin_offsets(self._changelogs.values())
        bulk = False
        for name, changelog in self._changelogs.items():
            known = meta.get(f"changelog:{name}")
            start = int(known) if known is not None else begins[changelog]
            end = self._ends[changelog]
            self._at[name] = self._from[name] = start
            if start < end and not (known is not None and self._is_level(meta)):
                bulk |= known is None
                self.remaining += end - start
                self._reads.append((name, self._log.read(changelog, start, end), known is None))
        if bulk:
            self.task.home.begin_restore()

    def _checked_meta(self) -> dict[str, bytes]:
        """The store's meta entries; of a store that cannot be trusted none, as it is wiped."""
        home = self.task.home
        try:
            meta = home.store.meta()
            reason = "a restore was not finished" if home.was_restoring else self._distrust(meta)
        except StateCorruptedError as error:
            meta, reason = {}, str(error)
        if not reason:
            return meta
        home.wipe(reason)
        for levels in self.task.scope.levels.values():
            levels.attach(home.store)
        home.end_restore()
        return {}

    def _distrust(self, meta: Mapping[str, bytes]) -> str:
        """Say why the store cannot be brought up to date from where it is, or ""."""
        if not meta:
            return ""
        if not self._is_ours(meta):
            return "it belongs to another application, log, changelog or format"
        away_ms = self._clock.now_ms() - int(meta.get("level_at_ms", b"0"))
        if not self._is_level(meta) and away_ms > self._config.delete_retention_ms // 2:
            return (
                f"it is {away_ms // 3_600_000} hours old: its changelog may have dropped tombstones"
            )
        begins = self._log.begin_offsets(self._changelogs.values())
        for name, changelog in self._changelogs.items():
            at = int(meta.get(f"changelog:{name}", begins[changelog]))
            if not begins[changelog] <= at <= self._ends[changelog]:
                held = f"{begins[changelog]} to {self._ends[changelog]}"
                return f"{changelog} now holds {held}, not {at}"
        return ""

    def _is_level(self, meta: Mapping[str, bytes]) -> bool:
        """True if the store holds exactly the last committed transaction: the token says so."""
        tokens = {token_of(each) for each in self._committed.values() if each.metadata}
        return tokens == {meta.get("token", b"").decode()} != {""}

    def _is_ours(self, meta: Mapping[str, bytes]) -> bool:
        """True if the identity is ours; a store that the program has got since changes nothing."""
        old, ours = json.loads(meta.get("identity", b"{}")), json.loads(self._identity())
        known = {name: ours["changelogs"][name] for name in old.get("changelogs", {})}
        return bool({**ours, "changelogs": known} == old)

    def _identity(self) -> bytes:
        facts: dict[str, Any] = {
            "format": FORMAT_VERSION,
            "application": self.task.plan.application,
            "cluster": self._log.cluster_id,
        }
        old = json.loads(self.task.home.store.meta().get("identity", b"{}")).get("changelogs", {})
        facts["changelogs"] = dict(sorted({**old, **self._ids}.items()))
        return json.dumps(facts, sort_keys=True).encode()

    def _check_types(self, meta: Mapping[str, bytes]) -> None:
        """Refuse a store that the program can no longer read, before anything is written."""
        for name, spec in self.task.subtopology.stores.items():
            old, new = meta.get(f"type:{name}"), fingerprint(spec.value)
            why = incompatibility(old.decode(), new) if old is not None else None
            old_key = meta.get(f"key:{name}")
            if old_key is not None and old_key.decode() != fingerprint(spec.key):
                why = "its keys were of another type"
            layout = meta.get(f"layout:{name}", b"").decode()
            if old is not None and layout != layout_of(spec):
                why = f"its entries were those of {layout or 'a function'}, now {layout_of(spec)}"
            if why:
                message = (
                    f"store {name!r} holds values of another type; {why}; "
                    f"now keys {type_name(spec.key)}, values {type_name(spec.value)}: "
                    f"restore the old type, or drop the state: streamfn reset --store {name}"
                )
                raise StateTypeError(message)

    # reading on
    def step(self, records_max: int) -> bool:
        """Restore up to so many records; True when the task is level."""
        while self._reads and records_max > 0:
            name, batches, bulk = self._reads[0]
            try:
                taken = list(self._take(batches, records_max))
            except LogError as error:
                if not error.retriable:
                    raise
                self._read_anew(name, bulk, error)
                break
            if self._waiting and not taken:
                break
            if not taken:
                self._reads.pop(0)
                self._at[name] = self._ends[self._changelogs[name]]
                continue
            records_max -= self._apply(name, taken, bulk)
        if self._reads:
            self._check_deadline()
            return False
        self._finish()
        return True

    def _read_anew(self, name: str, bulk: bool, error: LogError) -> None:
        """The log does not answer for now: go on later from where the store is."""
        log_.info("restore of store %s waits for the log: %s", name, error)
        changelog = self._changelogs[name]
        batches = self._log.read(changelog, self._at[name], self._ends[changelog])
        self._reads[0] = (name, batches, bulk)

    def _take(self, batches: Iterator[Batch], records_max: int) -> Iterator[Batch]:
        """Yield what is there; an empty batch says that nothing came for now."""
        self._waiting = False
        while records_max > 0 and (batch := next(batches, None)) is not None:
            if not len(batch):
                self._waiting = True
                return
            records_max -= len(batch)
            self._started_s = self._clock.monotonic_s()
            yield batch

    def _apply(self, name: str, taken: list[Batch], bulk: bool) -> int:
        store, count = self.task.home.store, sum(len(batch) for batch in taken)
        pairs = chain.from_iterable(zip(b.keys, b.values, strict=True) for b in taken)
        entries = {key: value for key, value in pairs if key is not None}
        at = taken[-1].next_offset
        self._check_readable(name, entries)
        if bulk:
            store.load(name, entries.items())
        else:
            store.write({name: entries}, {f"changelog:{name}": str(at).encode()})
        self._metrics.restored_records += count
        self.remaining -= at - self._at[name]
        self._at[name] = at
        return count

    def _check_readable(self, name: str, entries: Mapping[bytes, bytes | None]) -> None:
        """A changelog does not say of which type its values are: see whether they can be read."""
        decoded = self.task.scope.levels[name].decoded
        spec = self.task.subtopology.stores[name]
        seen = decode_entry(spec)
        try:
            for key, raw in entries.items():
                if raw is not None:
                    seen(key, decoded(raw))
        except (SerdeError, UnicodeDecodeError) as error:
            message = (
                f"store {name!r} holds keys that are no {type_name(spec.key)}; {error}; restore "
                f"the old type, or drop the state: streamfn reset --store {name}"
            )
            raise StateTypeError(message) from error

    def _check_deadline(self) -> None:
        """Waiting for ever for the end of a changelog would look like running: stop instead.

        A log that does not answer at all is waited for; once it does, there is a while left.
        """
        now_s = self._clock.monotonic_s()
        waited_s = now_s - self._started_s
        if waited_s * 1000 > self._config.restore_timeout_ms:
            name, _, bulk = self._reads[0]
            try:
                self._log.end_offsets([self._changelogs[name]])
            except LogError as error:
                if not error.retriable:
                    raise
                self._started_s = now_s - self._config.restore_timeout_ms / 1000 + ANSWERED_S
                self._read_anew(name, bulk, error)
                return
            message = (
                f"task {self.task.name!r} cannot restore store {name!r}; its changelog "
                f"{self._changelogs[name]} gave nothing for {waited_s:.0f} s at offset "
                f"{self._at[name]} of {self._ends[self._changelogs[name]]}; check the log, "
                "then start again"
            )
            raise StopError(message)

    def _finish(self) -> None:
        meta: dict[str, bytes | None] = {
            f"changelog:{name}": str(at).encode() for name, at in self._at.items()
        }
        meta["identity"] = self._identity()
        meta["level_at_ms"] = str(self._clock.now_ms()).encode()
        if self.task.has_committed:
            meta["sources"] = self.task.known_sources()
        for name, spec in self.task.subtopology.stores.items():
            meta[f"type:{name}"] = fingerprint(spec.value).encode()
            meta[f"key:{name}"] = fingerprint(spec.key).encode()
            meta[f"layout:{name}"] = layout_of(spec).encode()
        self.task.home.store.write({}, meta)
        self.task.home.end_restore()
        self.task.restored(self._at)
        said = [f"{name} from {self._from[name]} to {at}" for name, at in self._at.items()]
        log_.info("task %s restored: %s", self.task.name, ", ".join(said) or "it has no stores")
