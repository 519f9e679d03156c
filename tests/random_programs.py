"""Random programs of several sub-topologies, and records for them: for properties of replays.

Each is made of a seed, step by step: what the steps before have made is branched, merged, keyed
anew, joined, counted, sent through topics and round in rings. Invariant: a seed gives the same
program and the same records each time; all functions are pure.
"""

# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, cast

import streamfn as sf
from streamfn.record import TopicPartition
from tests.replay_world import Placed, placed

WIDTH: Final = 3
INPUTS: Final = ("left", "right")
OUTS: Final = ("one", "two")
THROUGH: Final = "through"
RING: Final = "ring"


def spread(key: str | None, value: int | None) -> str:
    """Another key."""
    return f"{key or '-'}{(value or 0) % 4}"[-2:]


def added(left: int | None, right: int | None) -> int:
    """Whoever meets."""
    return (left or 0) * 2 + (right or 0)


def checked(value: int | None) -> int:
    """Fail on some."""
    if value is not None and value % 13 == 7:
        message = f"seven: {value}"
        raise ValueError(message)
    return value or 0


class RandomProgram:
    """A program that is made step by step.

    ``as_live``: nothing in it is other in a live run; ``plain``: no record has another time than
    the one that it was made of.
    """

    def __init__(self, seed: int, on_error: str, *, as_live: bool, plain: bool = False) -> None:
        self._choose, self._number, self._as_live = random.Random(seed), 0, as_live
        self.app = sf.App("random", on_error=on_error)  # type: ignore[arg-type]  # one of the policies
        self._inputs = [self._topic(name) for name in INPUTS]
        self._outs = [self._topic(name, 2) for name in OUTS]
        self._pool: list[Any] = [self.app.stream(topic) for topic in self._inputs]
        self._tables: list[Any] = []
        steps: list[Callable[[], None]] = [
            self._map, self._branch, self._merge, self._rekey, self._function, self._generator,
            self._count, self._window, self._close, self._join, self._streams, self._function,
        ]  # fmt: skip
        if plain:
            held = {self._window, self._close, self._streams}
            steps = [step for step in steps if step not in held]
        once = [] if plain else [self._through, self._ring, self._chosen]
        for step in self._choose.sample(once, min(len(once), self._choose.randint(0, 3))):
            steps.append(step)
        for _ in range(self._choose.randint(4, 9)):
            step = self._choose.choice(steps)
            step()
            if step in once:
                steps.remove(step)
        for stream in self._pool[2:] or self._pool:
            self._keyed(stream).to(self._choose.choice(self._outs), name=self._name("to"))

    def _topic(self, name: str, width: int = WIDTH) -> Any:
        return self.app.topic(name, key=str, value=int, partitions=width)

    def _name(self, what: str) -> str:
        self._number += 1
        return f"{what}{self._number}"

    def _any(self) -> Any:
        return self._choose.choice(self._pool)

    def _keyed(self, stream: Any) -> Any:
        """Where the log would put a record without a key is for the log to say."""
        if not self._as_live:
            return stream
        return stream.filter(lambda key, value: key is not None, name=self._name("keyed"))

    def _map(self) -> None:
        by = self._choose.randint(1, 9)
        mapped = self._any().map_values(
            lambda value: None if value is None else value + by, value=int, name=self._name("map")
        )
        self._pool.append(mapped)

    def _branch(self) -> None:
        small, rest = self._any().split(
            lambda key, value: value is not None and value % 3 == 0, name=self._name("split")
        )
        self._pool += [small, rest]

    def _merge(self) -> None:
        one, other = self._any(), self._any()
        if one is not other:
            self._pool.append(one.merge(other, name=self._name("merge")))

    def _rekey(self) -> None:
        stream = self._any().key_by(spread, key=str, name=self._name("key"))
        if self._choose.random() < 0.4:
            stream = stream.repartition(partitions=WIDTH, name=self._name("again"))
        self._pool.append(stream)

    def _function(self) -> None:
        seconds, clock = self._choose.choice((2, 5)), cast("Any", "stream")
        if not self._as_live:
            clock = self._choose.choice(("stream", "wall"))

        def run(value: int, total: sf.Value[int], about: sf.Context[str]) -> int:
            """Add, with chance and time."""
            total.value += checked(value)
            chance = about.uuid().int % 97 + about.random.randrange(7)
            return total.value * 100 + chance + about.now().second

        made = self.app.function(self._any(), name=self._name("fn"))(run)
        if self._choose.random() < 0.4:

            def forget(about: sf.Context[str], total: sf.Store[str, int]) -> None:
                """Take some of it back."""
                for key in list(total.keys()):
                    total[key] += about.random.randrange(5) + about.uuid().int % 3

            made.every(timedelta(seconds=seconds), clock=clock)(forget)
        self._pool.append(made)

    def _generator(self) -> None:
        out = self._choose.choice(self._outs)

        def run(value: int, seen: sf.Map[int, int], about: sf.Context[str]) -> Any:
            """Answer several times, some of it at once."""
            about.emit(out.record(key=about.key, value=value, headers=(("n", b"1"),)))
            seen[value % 3] = seen.get(value % 3, 0) + 1
            for number in range(value % 3):
                yield out.record(key=f"{about.key}{number}", value=about.uuid().int % 1000)
            yield out.record(key="all", value=checked(value), timestamp_ms=about.timestamp_ms // 2)

        self.app.function(self._any(), name=self._name("gen"), to=out)(run)

    def _count(self) -> None:
        counts = self._any().group_by_key().count(name=self._name("count"))
        self._tables.append(counts)
        self._pool.append(counts.to_stream(name=self._name("counted")))

    def _window(self) -> None:
        window = sf.Tumbling(timedelta(seconds=4), grace=timedelta(seconds=2))
        counts = self._any().group_by_key().window(window).count(name=self._name("window"))
        self._pool.append(self._plain(counts))

    def _close(self) -> None:
        window = sf.Tumbling(timedelta(seconds=4), grace=timedelta(seconds=1))
        grouped = self._any().group_by_key()
        if self._choose.random() < 0.5:
            counts = grouped.window(window, emit="close").count(name=self._name("close"))
        else:
            counts = grouped.window(window).count(name=self._name("late"))
            counts = counts.suppress("close", name=self._name("suppress"))
        self._pool.append(self._plain(counts))

    def _plain(self, counts: Any) -> Any:
        name = self._name("plain")
        return counts.to_stream(name=f"{name}-s").map(
            lambda key, value: (key.key, value), key=str, value=int, name=name
        )

    def _join(self) -> None:
        if self._tables:
            joined = self._any().left_join(
                self._choose.choice(self._tables), added, value=int, name=self._name("join")
            )
            self._pool.append(joined)

    def _streams(self) -> None:
        within = sf.JoinWindow(timedelta(seconds=1), grace=timedelta(seconds=1))
        one, other = self._any(), self._any()
        if one is not other and self._choose.random() < 0.5:
            joined = one.outer_join(other, added, within, value=int, name=self._name("meet"))
            self._pool.append(joined)

    def _through(self) -> None:
        through = self._topic(THROUGH)
        for _ in range(self._choose.randint(1, 2)):
            self._keyed(self._any()).to(through, name=self._name("to"))
        self._pool.append(self.app.stream(through))

    def _ring(self) -> None:
        ring = self._topic(RING)
        round_ = self._any().merge(self.app.stream(ring), name=self._name("round"))
        less = round_.map_values(
            lambda value: (value or 0) % 64 // 4, value=int, name=self._name("less")
        )
        left = less.filter(lambda key, value: value > 0 and key is not None, name=self._name("go"))
        left.key_by(spread, key=str, name=self._name("turn")).to(ring, name=self._name("to"))
        self._pool.append(less)

    def _chosen(self) -> None:
        one, two = self._outs
        self._keyed(self._any()).to(
            lambda key, value: one if (value or 0) % 2 else two, name=self._name("choose")
        )


def records(seed: int, count: int, *, as_live: bool) -> list[Placed]:
    """Choose records: late ones, tombstones, undecodable ones, gaps between offsets, headers."""
    choose, at_ms = random.Random(seed), 0
    sent: list[tuple[str, bytes | None, bytes | None, int]] = []
    for _ in range(count):
        at_ms += choose.choice((0, 0, 300, 900, 2_000))
        late_ms = choose.choice((0, 0, 0, 1_000, 6_000))
        value: bytes | None = b"%d" % choose.randrange(90)
        if choose.random() < 0.1:
            value = choose.choice((None, b"x"))
        key = None if not as_live and choose.random() < 0.1 else choose.choice("abcdef").encode()
        sent.append((choose.choice(INPUTS), key, value, max(0, at_ms - late_ms)))
    gaps = dict.fromkeys((TopicPartition(n, p) for n in INPUTS for p in range(WIDTH)), 0)
    found: list[Placed] = []
    for record in placed(sent, WIDTH):
        found.append(record._replace(offset=record.offset + gaps[record.source]))
        gaps[record.source] += 0 if as_live else choose.choice((0, 0, 0, 1, 3))
    return found
