"""What is measured: each job in a process of its own, on the embedded log, exactly once, on disk.

    count         JSON decode → count per key in RocksDB with a changelog → encode → an output each
    closures      the same through the reference compiler
    passthrough   bytes in, bytes out
    map           JSON decode → a function of the value → encode
    aggregate     the count as group_by_key().count()
    hand-written  the count as a plain loop over the same log and store: the floor to compare with

and the windows and joins of ``windowed_jobs``. Input is written to the log first and is not
measured. Invariant: a figure is printed only after every output was read back and found right.
"""

import gc
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

import msgspec

import streamfn as sf
from benchmarks.windowed_jobs import BUILD, SIDE_TOPICS, Arrived, Order, check, name_of
from streamfn.clock import SystemClock, SystemRandom
from streamfn.config import Config
from streamfn.connectors.embedded import EmbeddedLog, open_embedded
from streamfn.connectors.log import Committed
from streamfn.graph.plan import user_topics
from streamfn.record import Columns, TopicPartition
from streamfn.run import embedded
from streamfn.state.rocksdb import RocksStore

PARTITIONS = 4
COMMIT_INTERVAL_MS = 100


@dataclass(frozen=True)
class Measured:
    """One run."""

    job: str
    keys: int
    records: int
    wall_s: float
    cpu_s: float
    peak_mb: int
    commits: int

    @property
    def per_cpu_s(self) -> float:
        """Records per second of processor time."""
        return self.records / self.cpu_s

    @property
    def per_wall_s(self) -> float:
        """Records per second of wall-clock time."""
        return self.records / self.wall_s


def run(job: str, keys: int, records: int, folder: Path) -> Measured:
    """Write the input, run the job, verify its outputs, measure the run alone."""
    config = Config(state_dir=folder, commit_interval_ms=COMMIT_INTERVAL_MS, watchdog_ms=0)
    _fill(folder / "bench" / "log", keys, records, SIDE_TOPICS.get(job, ""))
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    work = _hand_written if job == "hand-written" else _topology
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    commits = work(job, config, records)
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if job in BUILD:
        _verify_windowed(folder / "bench" / "log", job)
    else:
        _verify(folder / "bench" / "log", job, _counted(keys, records))
    return Measured(job, keys, records, wall_s, cpu_s, peak_mb, commits)


def _open(path: Path) -> EmbeddedLog:
    path.parent.mkdir(parents=True, exist_ok=True)
    return open_embedded(path, durability="wal", clock=SystemClock(), random=SystemRandom())


def _users(keys: int, records: int) -> Iterator[int]:
    """Draw users evenly, the same ones each time."""
    chance = random.Random(1)
    return (chance.randrange(keys) for _ in range(records))


def _key(user: int) -> bytes:
    return b"user-%011d" % user


def _counted(keys: int, records: int) -> Counter[bytes]:
    """How many orders each user has."""
    return Counter(map(_key, _users(keys, records)))


def _fill(path: Path, keys: int, records: int, side_topic: str) -> None:
    """Write an order of each user drawn, and what a join looks for."""
    log, users = _open(path), _users(keys, records)
    for topic in filter(None, ("orders", "counts", side_topic)):
        log.create_topic(topic, PARTITIONS, {})
    log.open_producer()
    if side_topic == "users":
        names = Columns.empty()
        for user in range(keys):
            names.add(_key(user), name_of(_key(user).decode()).encode(), 0)
        _write(log, "users", names)
    for start in range(1, records + 1, 1000):  # what a join looks for is there before
        columns, paid = Columns.empty(), Columns.empty()
        for at, user in enumerate(islice(users, 1000), start):
            value = (
                b'{"user":"u%06d","item":"i0007","amount":%d.%02d,"ts":%d,"country":"DE",'
                b'"pad":"0123456789"}' % (user, user % 90 + 10, at % 100, 1_700_000_000_000 + at)
            )
            columns.add(_key(user), value, at)
            paid.add(_key(user), b"%d.%02d" % (user % 90 + 10, at % 100), at)
        _write(log, "orders", columns)
        if side_topic == "payments":
            _write(log, "payments", paid)
    log.close()


def _write(log: EmbeddedLog, topic: str, columns: Columns) -> None:
    log.begin()
    log.emit(topic, None, columns)
    log.flush()
    log.commit()


def _application(job: str) -> sf.App:
    app = sf.App("bench")
    if job == "passthrough":
        raw = app.topic("orders", key=str, value=bytes, partitions=PARTITIONS)
        app.stream(raw).to(app.topic("counts", key=str, value=bytes, partitions=PARTITIONS))
        return app
    orders = app.topic("orders", key=str, value=Order, partitions=PARTITIONS)
    if job in BUILD:
        BUILD[job](app, orders, PARTITIONS)
        return app
    if job == "map":
        sink = app.topic("counts", key=str, value=float, partitions=PARTITIONS)
        app.stream(orders).map_values(lambda order: order.amount * 2, value=float).to(sink)
        return app
    counts = app.topic("counts", key=str, value=int, partitions=PARTITIONS)
    if job == "aggregate":
        app.stream(orders).group_by_key().count().to_stream().to(counts)
        return app

    @app.function(orders, to=counts)
    def count(order: Order, total: sf.Value[int]) -> int:
        total.value += 1
        return total.value

    return app


def _topology(job: str, config: Config, records: int) -> int:
    with embedded(_application(job).topology(), config, generated=job != "closures") as running:
        running.worker.start()
        running.worker.run(until_end=True)
        running.worker.close()
        return running.worker.metrics.commits


def _hand_written(job: str, config: Config, records: int) -> int:
    """What a good programmer would write for this one job, without errors, restores or timers."""
    log = _open(config.state_dir / "bench" / "log")
    for partition in range(PARTITIONS):
        log.create_topic("changes", PARTITIONS, {"cleanup.policy": "compact"})
        (config.state_dir / f"store-{partition}").mkdir(parents=True)
    stores = [
        RocksStore(config.state_dir / f"store-{p}" / "db", ["count"]) for p in range(PARTITIONS)
    ]
    log.join("bench", PARTITIONS, _Nobody())
    log.open_producer()
    log.poll(0)
    log.assign({TopicPartition("orders", p): 0 for p in range(PARTITIONS)})
    commits = _count_loop(log, stores, records)
    for store in stores:
        store.close()
    log.close()
    return commits


def _count_loop(log: EmbeddedLog, stores: list[RocksStore], records: int) -> int:
    decode, encode = msgspec.json.Decoder(Order).decode, msgspec.json.Encoder().encode
    counts: list[dict[bytes, int]] = [{} for _ in stores]
    dirty: list[dict[bytes, int]] = [{} for _ in stores]
    pending: list[dict[bytes, bytes | None]] = [{} for _ in stores]
    out, offsets, done, commits = Columns.empty(), dict[TopicPartition, Committed](), 0, 0
    committed_s = stored_s = time.monotonic()
    while done < records or offsets:
        for batch in log.poll(0):
            known, changed = counts[batch.source.partition], dirty[batch.source.partition]
            for key, raw, timestamp in zip(batch.keys, batch.values, batch.timestamps, strict=True):
                assert key is not None
                assert raw is not None
                decode(raw)
                changed[key] = known[key] = total = known.get(key, 0) + 1
                out.keys.append(key)
                out.values.append(encode(total))
                out.timestamps.append(timestamp)
            done += len(batch)
            offsets[batch.source] = Committed(batch.next_offset, "")
        now_s = time.monotonic()
        if now_s - committed_s >= COMMIT_INTERVAL_MS / 1000 or done == records:
            log.begin()
            log.emit("counts", None, out)
            for partition, changed in enumerate(dirty):
                values = [b"%d" % total for total in changed.values()]
                columns = Columns([*changed], [*values], [0] * len(values), {})
                log.emit("changes", partition, columns)
                pending[partition].update(zip(changed, values, strict=True))
                changed.clear()
            log.flush()
            log.send_offsets(offsets)
            log.commit()
            out.clear()
            offsets.clear()
            committed_s, commits = now_s, commits + 1
        if now_s - stored_s >= 5 or done == records:
            for store, changes in zip(stores, pending, strict=True):
                store.write({"count": changes}, {})
                changes.clear()
            stored_s = now_s
    return commits


class _Nobody:
    """A listener for a loop that owns everything from the start."""

    def assigned(self, tokens: list[int]) -> None: ...

    def revoked(self, tokens: list[int]) -> None: ...

    def lost(self, tokens: list[int]) -> None: ...


def _verify(path: Path, job: str, counted: Counter[bytes]) -> None:
    """Read every output back: each key counted from 1 to its total, in order, nothing twice."""
    log, seen = _open(path), Counter[bytes]()
    number: Callable[[bytes], int] | None = None if job in ("passthrough", "map") else int
    for key, value in chain.from_iterable(_outputs(log, "counts", p) for p in range(PARTITIONS)):
        assert value is not None
        seen[key] += 1
        if number is not None and number(value) != seen[key]:
            message = f"{key!r} was counted {value!r}, expected {seen[key]}"
            raise AssertionError(message)
    log.close()
    if seen != counted:
        message = f"{seen.total()} outputs for {counted.total()} inputs"
        raise AssertionError(message)


def _outputs(log: EmbeddedLog, topic: str, partition: int) -> Iterator[tuple[bytes, bytes | None]]:
    source = TopicPartition(topic, partition)
    for batch in log.read(source, 0, log.end_offsets([source])[source]):
        for key, value in zip(batch.keys, batch.values, strict=True):
            assert key is not None
            yield key, value


def _verify_windowed(path: Path, job: str) -> None:
    """Work out anew what each partition's orders demand."""
    log, topology = _open(path), _application(job).topology()
    spec = user_topics(topology)["out"]
    decode = user_topics(topology)["orders"].value.decode
    for partition in range(PARTITIONS):
        source = TopicPartition("orders", partition)
        arrived = [
            Arrived((key or b"").decode(), decode(value or b"").amount, timestamp)
            for batch in log.read(source, 0, log.end_offsets([source])[source])
            for key, value, timestamp in zip(
                batch.keys, batch.values, batch.timestamps, strict=True
            )
        ]
        outputs = (
            (spec.key.decode(key), None if value is None else spec.value.decode(value))
            for key, value in _outputs(log, spec.name, partition)
        )
        check(job, arrived, outputs)
    log.close()


def as_json(measured: Measured) -> bytes:
    """One line for the process that started this one."""
    return msgspec.json.encode(asdict(measured))
