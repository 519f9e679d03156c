"""What a function gets for its parameters, in both compilers, on batches of several records."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from datetime import timedelta
from typing import Any

import msgspec
import pytest

import streamfn as sf
from streamfn.connectors.partitioner import Partitioner
from streamfn.record import Headers
from streamfn.testing import TestDriver
from tests.unit.one_task import OneTask

both = pytest.mark.parametrize("generated", [True, False])
START = sf.Value(1000.5)
NESTED = sf.Value({"a": [1]})


class Frozen(msgspec.Struct, frozen=True):
    """An immutable value."""

    count: int = 0


class Open(msgspec.Struct):
    """A mutable value."""

    seen: list[int] = msgspec.field(default_factory=list[int])


class Program:
    """An app with an input of ints and an output of ints, and a skip policy."""

    def __init__(self, value: Any = int, partitions: int = 1) -> None:
        self.app: Any = sf.App("bindings", on_error="skip")
        self.numbers: Any = self.app.topic("numbers", key=str, value=int, partitions=partitions)
        self.out: Any = self.app.topic("out", key=str, value=value)

    def run(self, fn: Any, numbers: list[int], *, generated: bool, name: str = "fn") -> OneTask:
        """Process numbers of one key as one batch."""
        self.app.function(self.numbers, to=self.out, name=name)(fn)
        task = OneTask(self.app, generated=generated)
        assert bool(task.task.compiled.chains["numbers"].text) is generated
        task.send("numbers", [("k", number, at) for at, number in enumerate(numbers)])
        return task


# Value
@both
def test_a_new_key_reads_the_start_and_is_absent(generated: bool) -> None:
    """Reading makes no entry."""

    def fn(
        number: int,
        total: sf.Value[int],
        listed: sf.Value[list[int]],
        start: sf.Value[float] = START,
    ) -> list[Any]:
        found = [total.value, total.exists, listed.value, listed.exists]
        return [*found, start.value, start.exists]

    task = Program(list[Any]).run(fn, [1, 1], generated=generated)
    assert task.values("out") == [[0, False, [], False, 1000.5, False]] * 2
    assert task.state("fn-total") == task.state("fn-listed") == task.state("fn-start") == {}
    assert not any(levels.dirty for levels in task.task.scope.levels.values())


@both
@pytest.mark.parametrize("committed", [False, True])
def test_set_delete_and_set_again(generated: bool, committed: bool) -> None:
    """1 sets, 2 deletes, 3 deletes and sets, 4 reads; before and after a commit."""

    def fn(number: int, total: sf.Value[int]) -> list[Any]:
        before = [total.value, total.exists]
        if number in (2, 3):
            total.delete()
            before += [total.value, total.exists]
        if number in (1, 3):
            total.value += 7 * number
        return [*before, total.exists]

    task = Program(list[Any]).run(fn, [1, 2, 4, 1, 3, 4], generated=generated)
    assert task.values("out") == [
        [0, False, True], [7, True, 0, False, False], [0, False, False],
        [0, False, True], [7, True, 0, False, True], [21, True, True],
    ]  # fmt: skip
    if committed:
        task.commit(written=True, forgotten=True)
        task.send("numbers", [("k", 2, 9), ("k", 4, 9)])
        assert task.values("out")[-2:] == [[21, True, 0, False, False], [0, False, False]]
        assert task.state("fn-total") == {}
    else:
        assert task.state("fn-total") == {"k": 21}


@both
def test_the_start_may_be_set_over_another_value(generated: bool) -> None:
    """Zero is a value like any other once there was an entry; None, too."""

    def fn(number: int, total: sf.Value[int], last: sf.Value[int | None]) -> bool:
        total.value, last.value = number, None if number == 0 else number
        return total.exists and last.exists

    task = Program(bool).run(fn, [5, 0], generated=generated)
    assert task.values("out") == [True, True]
    assert task.state("fn-total") == {"k": 0}
    assert task.state("fn-last") == {"k": None}


@both
def test_the_start_itself_is_no_entry(generated: bool) -> None:
    """An absent value that is what it was stays absent; an equal object that was made is one."""

    def fn(number: int, total: sf.Value[float] = START) -> bool:
        total.value = START.value if number == 1 else float("1000.5")
        return total.exists

    task = Program(bool).run(fn, [1, 2], generated=generated)
    assert task.values("out") == [False, True]


@both
@pytest.mark.parametrize("committed", [False, True])
def test_changes_in_place_are_kept(generated: bool, committed: bool) -> None:
    """Of dicts, lists and open structs, nested ones too; the start is never changed."""

    def fn(number: int, a: sf.Value[Open], b: sf.Value[dict[str, list[int]]] = NESTED) -> list[Any]:
        a.value.seen.append(number)
        b.value["a"].append(number)
        return [len(a.value.seen), len(b.value["a"]), a.exists, b.exists]

    task = Program(list[Any]).run(fn, [1, 2], generated=generated)
    if committed:
        task.commit(written=True, forgotten=True)
    task.send("numbers", [("other", 8, 0), ("k", 3, 0)])
    assert [found[:2] for found in task.values("out")] == [[1, 2], [2, 3], [1, 2], [3, 4]]
    assert all(found[2:] == [True, True] for found in task.values("out"))
    assert task.state("fn-a") == {"k": Open([1, 2, 3]), "other": Open([8])}
    assert task.state("fn-b")["k"] == {"a": [1, 1, 2, 3]}
    assert NESTED.value == {"a": [1]}


@both
def test_deleted_and_changed_in_place(generated: bool) -> None:
    """What is put into the fresh start after a deletion is an entry."""

    def fn(number: int, a: sf.Value[list[int]]) -> int:
        if number == 2:
            a.delete()
        if number != 3:
            a.value.append(number)
        return len(a.value)

    task = Program().run(fn, [1, 2, 3], generated=generated)
    assert task.values("out") == [1, 1, 1]
    assert task.state("fn-a") == {"k": [2]}


@both
@pytest.mark.parametrize("end", [ValueError, None])
def test_nothing_of_a_failed_record_leaks(generated: bool, end: type[Exception] | None) -> None:
    """Not a set value, a change in place, a deletion, an entry of a map, of a store, an output."""

    def fn(
        number: int,
        count: sf.Value[int],
        seen: sf.Value[list[int]],
        each: sf.Map[int, int],
        every: sf.Store[str, int],
        here: sf.Context[str],
    ) -> list[Any]:
        count.value += 1
        seen.value.append(number)
        each[number] = every["all"] = number
        if number == 3:
            count.delete()
            seen.delete()
            each.clear()
            every.clear()
        if number in (2, 3):
            here.emit(program.out.record(key="emitted", value=number))
            if end is not None:
                raise end
            return [object()]
        return [count.value, count.exists, seen.value, list(each.items()), every["all"]]

    program = Program(list[Any])
    task = program.run(fn, [1, 2, 3, 2, 4], generated=generated)
    assert task.metrics.skipped == 3
    assert task.values("out") == [
        [1, True, [1], [[1, 1]], 1], [2, True, [1, 4], [[1, 1], [4, 4]], 4],
    ]  # fmt: skip
    assert task.state("fn-count") == {"k": 2}
    assert task.state("fn-every") == {"all": 4}
    assert task.task.scope.undo == []


@both
def test_frozen_structs_and_interleaved_keys(generated: bool) -> None:
    """Each key has its own value within one batch; a null key has none."""
    program = Program()

    @program.app.function(program.numbers, to=program.out)
    def fn(number: int, count: sf.Value[Frozen]) -> int:
        count.value = Frozen(count.value.count + number)
        return count.value.count

    task = OneTask(program.app, generated=generated)
    task.send("numbers", [("a", 1, 0), ("b", 10, 0), (None, 5, 0), ("a", 2, 0), ("b", 20, 0)])
    assert task.values("out") == [1, 10, 3, 30]
    assert task.metrics.dropped == {"null key at fn": 1}


def test_a_restart_does_not_change_an_int_into_a_float() -> None:
    """What a type checker takes for a float must read the same before and after a restart."""
    program = Program(str)

    @program.app.function(program.numbers, to=program.out)
    def fn(number: int, last: sf.Value[float]) -> str:
        before, last.value = last.value, number
        return str(before)

    with TestDriver(program.app) as driver:
        for _ in range(2):
            driver.send(program.numbers, 1, key="k")
        driver.restart()
        driver.send(program.numbers, 1, key="k")
        first, second, third = (record.value for record in driver.read(program.out))
    assert first == "0.0"
    assert second == third


@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
@pytest.mark.parametrize("interval_ms", [0, 1000])
@both
def test_a_value_of_a_wrong_type_fails_its_own_record(
    generated: bool, interval_ms: int, on_error: Any
) -> None:
    """Also where the next record of the key reads it before the commit finds it."""
    app: Any = sf.App("wrong", on_error=on_error)
    numbers = app.topic("numbers", key=str, value=int)
    out = app.topic("out", key=str, value=int)

    @app.function(numbers, to=out)
    def fn(number: int, last: sf.Value[dict[str, int]], count: sf.Value[int]) -> int:
        last.value = [number] if number == 1 else {"n": number}  # type: ignore[assignment]  # wrong
        count.value = "text" if number == 2 else count.value + 1  # type: ignore[assignment]  # wrong
        return number

    with TestDriver(app, generated=generated, commit_interval_ms=interval_ms) as driver:
        for number in (0, 1, 3, 2, 4):
            driver.send(numbers, number, key="k")
        driver.advance(timedelta(seconds=2))
        assert [record.value for record in driver.read(out)] == [0, 3, 4]
        assert driver.state(fn, "last") == {"k": {"n": 4}}
        assert driver.state(fn, "count") == {"k": 3}
        assert len(driver.dead_letters()) == (2 if on_error == "dead_letter" else 0)


@both
def test_what_is_only_read_is_not_written(generated: bool) -> None:
    """Not even a value that could have been changed in place."""

    def fn(number: int, count: sf.Value[int], seen: sf.Value[list[int]]) -> int:
        if number:
            count.value += number
            seen.value.append(number)
        return count.value + len(seen.value)

    task = Program().run(fn, [1], generated=generated)
    task.commit()
    task.send("numbers", [("k", 0, 0)])
    assert task.values("out") == [2, 2]
    assert not any(levels.dirty for levels in task.task.scope.levels.values())


# Lookup and Context
@both
def test_a_key_of_another_partition_cannot_be_looked_up(generated: bool) -> None:
    """The own key can; a key that is elsewhere is an error, not an absence."""
    app: Any = sf.App("lookups")
    numbers = app.topic("numbers", key=str, value=str, partitions=3)
    rows = app.topic("rows", key=str, value=int, partitions=3)
    out = app.topic("out", key=str, value=list[Any])

    @app.function(numbers, to=out)
    def fn(wanted: str, table: sf.Lookup[str, int] = app.table(rows)) -> list[Any]:  # noqa: B008  # how it is bound
        try:
            return [wanted, table.get(wanted)]
        except LookupError:
            return [wanted, "elsewhere"]

    place = Partitioner().partition_of
    with TestDriver(app, generated=generated) as driver:
        for key in "abcdef":
            driver.send(rows, ord(key), key=key)
        for wanted in "abcdefg":
            driver.send(numbers, wanted, key="a")
        found = dict(record.value for record in driver.read(out))
    mine = [key for key in "abcdefg" if place(key.encode(), 3) == place(b"a", 3)]
    assert 1 < len(mine) < 6
    assert {key for key, held in found.items() if held != "elsewhere"} == set(mine)
    assert all(found[key] == (None if key == "g" else ord(key)) for key in mine)


@both
def test_the_context_knows_the_record(generated: bool) -> None:
    """Key, timestamp, headers, topic, offset and stream time; headers go on to answers."""
    program = Program(list[Any])

    def fn(number: int, here: sf.Context[str]) -> list[Any]:
        names = [name for name, _ in here.headers]
        place = [here.topic, here.partition, here.offset]
        return [here.key, here.timestamp_ms, here.stream_time_ms, *place, names]

    program.app.function(program.numbers, to=program.out)(fn)
    task = OneTask(program.app, generated=generated)
    h: Headers = (("h", b"1"), ("h", b"2"))
    task.send("numbers", [("a", 1, 5), ("b", 1, 3, h), (None, 1, 7)])
    task.send("numbers", [("c", 1, 6), ("d", 1, 9)])
    assert task.values("out") == [
        ["a", 5, 5, "numbers", 0, 0, []],
        ["b", 3, 5, "numbers", 0, 1, ["h", "h"]],
        [None, 7, 7, "numbers", 0, 2, []],
        ["c", 6, 7, "numbers", 0, 3, []],
        ["d", 9, 9, "numbers", 0, 4, []],
    ]
    assert [headers for _, _, _, headers in task.output("out")] == [(), h, (), (), ()]


@both
def test_emitted_records_come_before_the_answer(generated: bool) -> None:
    """With their own key, time and headers; other topics than those of ``to`` are refused."""
    program = Program()
    other = program.app.topic("other", key=str, value=int)

    def fn(number: int, here: sf.Context[str]) -> int:
        if number == 2:
            here.emit(other.record(key="x", value=1))
        at_ms = 99 if number == 3 else None
        record = program.out.record(key="e", value=None, timestamp_ms=at_ms, headers=(("n", b""),))
        here.emit(record)
        return number

    task = program.run(fn, [1, 2, 3], generated=generated)
    assert task.output("out") == [
        ("e", None, 0, (("n", b""),)), ("k", 1, 0, ()),
        ("e", None, 99, (("n", b""),)), ("k", 3, 2, ()),
    ]  # fmt: skip
    assert task.metrics.skipped == 1
