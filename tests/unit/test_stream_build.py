"""Mistakes in streams and timers: at the user's line, with what was got and what to do."""

# Wrong programs are written against Any: else the type checkers would refuse them first.
# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false

from datetime import timedelta

import pytest

import streamfn as sf
from tests.unit.wrong_programs import (
    Program,
    check,
    keep,
    print_number,
)


@pytest.fixture
def program() -> Program:
    """A fresh program."""
    return Program()


def test_two_key_by(program: Program) -> None:
    """Two changes of key that would share a repartition topic."""
    program.stream.key_by(lambda number: number.real, key=int)
    program.stream.filter(lambda number: True).key_by(lambda n: n.real, key=int)  # here
    check(program.app, "key_by has the name", "'numbers-by-real'", "name=")


def test_name_of_step(program: Program) -> None:
    """A name= that another stage has."""
    program.stream.filter(lambda number: True, name="numbers")  # here
    check(program.app, "filter has the name of another stage", "'numbers'", "name=")


def test_number_of_arguments(program: Program) -> None:
    """A function of too many arguments."""
    program.stream.map_values(lambda key, value, more: value)  # here
    check(program.app, "cannot be called as fn(value) or fn(key, value)", "more", "write it as")


def test_arguments_of_map(program: Program) -> None:
    """A function that cannot take the key."""
    program.stream.map(lambda number: (number, number))  # here
    check(program.app, "map cannot be called as fn(key, value)", "with number", "write it as")


def test_no_function(program: Program) -> None:
    """Something that cannot be called."""
    program.stream.filter("number > 0")  # here
    check(program.app, "filter needs a function", "'number > 0'", "pass fn(value)")


def test_type_against_annotation(program: Program) -> None:
    """A said type that the function contradicts."""
    program.stream.map_values(str, value=int)  # here
    check(program.app, "value= of map_values contradicts", "value=int", "the same type")


def test_type_of_step(program: Program) -> None:
    """A said type that no serde carries."""
    program.stream.key_by(lambda number: number, key=Program)  # here
    check(program.app, "key= of key_by cannot go through a topic", "Program", "another type")


def test_split_without_predicate(program: Program) -> None:
    """A split with one way only."""
    program.stream.split()  # here
    check(program.app, "split has nothing to decide by", "no predicate", "one predicate a branch")


def test_merge_of_keys(program: Program) -> None:
    """A merge of streams with different keys."""
    program.stream.merge(program.stream.key_by(lambda number: 1, key=int))  # here
    check(program.app, "streams whose keys differ", "str of 'numbers' and int of", "key_by(")


def test_merge_of_apps(program: Program) -> None:
    """A merge of two apps."""
    program.stream.merge(Program().stream)  # here
    check(program.app, "merge joins streams of two apps", "'numbers'", "through a topic")


def test_merge_with_itself(program: Program) -> None:
    """A merge of a stream with itself, which another name for it does not hide."""
    program.stream.merge(program.texts, program.app.stream(program.numbers))  # here
    check(program.app, "merge joins a stream with itself", "'numbers' 2 times", "flat_map_values")


def test_partitions_of_repartition(program: Program) -> None:
    """A repartition into nothing."""
    program.stream.repartition(partitions=-1)  # here
    check(program.app, "partitions= of repartition", "-1", "at least 1")


def test_two_repartitions(program: Program) -> None:
    """A repartition that has the name of the one behind its key_by."""
    keyed = program.stream.key_by(lambda number: "a")
    program.app.function(keyed, name="keeper")(keep)
    keyed.filter(lambda number: True).repartition(partitions=3)  # here
    check(program.app, "has the name of the one behind", "keyed state both", "say name=")


def test_sink(program: Program) -> None:
    """Records to something that is no topic."""
    program.stream.to(3)  # here
    check(program.app, "to of 'numbers' is no topic", "3", "app.topic")


def test_sink_of_another_app(program: Program) -> None:
    """Records to a topic of another app."""
    program.stream.to(Program().numbers)  # here
    check(program.app, "a topic of another app", "topic 'numbers' of 'app'", "in this app")


def test_sink_types(program: Program) -> None:
    """Records that their topic does not take."""
    program.stream.to(program.texts)  # here
    check(program.app, "value does not fit topic 'texts'", "int for a topic", "convert before")


def test_sink_key(program: Program) -> None:
    """Keys that their topic does not take."""
    program.stream.key_by(lambda number: 1, key=int).to(program.numbers)  # here
    check(program.app, "key does not fit topic 'numbers'", "int for a topic", "convert before")


def test_sink_by_name(program: Program) -> None:
    """A topic by name, of values that nobody names."""
    program.stream.map_values(lambda number: [number]).to("lists")  # here
    check(program.app, "the value type of topic 'lists' is unknown", "nobody says", "say value=")


def test_unknown_value_before_state(program: Program) -> None:
    """A value type that a repartition topic needs, and a lambda does not say."""
    mapped = program.stream.map_values(lambda number: number + 1)  # here
    program.app.function(mapped.key_by(lambda number: "a"))(keep)
    check(program.app, "the value type behind map_values", "without a return", "say value= there")


def test_unknown_answer_before_state(program: Program) -> None:
    """A value type that a repartition topic needs, and a function does not say."""

    @program.app.function(program.numbers)
    def plain(number: int):  # type: ignore[no-untyped-def]  # that is the mistake  # here
        return number

    program.app.function(plain.key_by(lambda number: "a"))(keep)
    check(program.app, "the value type behind function 'plain'", "without", "annotate what it")


def test_unknown_key_before_state(program: Program) -> None:
    """A key type that a store needs, and a lambda does not say."""
    mapped = program.stream.map(lambda key, number: (number, number), value=int)

    @program.app.function(mapped)
    def kept(number: int, total: sf.Value[int]) -> None:  # here
        """Keeps a number."""

    check(program.app, "needs to know the type of the key", "nobody says", "say key=")


def test_timer_of_stateless_function(program: Program) -> None:
    """A timer with nothing to work on."""
    stage = program.app.function(program.numbers)(print_number)

    @stage.every(timedelta(seconds=1))
    def tick(context: sf.Context) -> None:  # here
        """A timer."""

    check(program.app, "timer 'tick' has nothing to work on", "'print_number'", "Context")


def test_timer_interval(program: Program) -> None:
    """A timer that would always be due."""
    stage = program.app.function(program.numbers)(keep)

    @stage.every(timedelta(0))
    def tick(context: sf.Context) -> None:  # here
        """A timer."""

    check(program.app, "timer 'tick' has no positive interval", "timedelta(0)", "at least 1 ms")


def test_timer_clock(program: Program) -> None:
    """A timer on a clock that does not exist."""
    stage = program.app.function(program.numbers)(keep)

    @stage.every(timedelta(seconds=1), clock="sun")
    def tick(context: sf.Context) -> None:  # here
        """A timer."""

    check(program.app, "timer 'tick' has an unknown clock", "'sun'", "'stream' or 'wall'")


def test_timer_with_the_state_of_a_key(program: Program) -> None:
    """A timer has no key, and so no value of one."""
    stage = program.app.function(program.numbers)(keep)

    @stage.every(timedelta(seconds=1))
    def tick(total: sf.Value[int]) -> None:  # here
        """A timer."""

    check(program.app, "asks for the state of one key", "Value[int]", "sf.Store[str, int]")


def test_timer_with_an_unknown_store(program: Program) -> None:
    """A timer that asks for a store which its function does not have."""
    stage = program.app.function(program.numbers)(keep)

    @stage.every(timedelta(seconds=1))
    def tick(totals: sf.Store[str, int]) -> None:  # here
        """A timer."""

    check(program.app, "'totals' of timer 'tick' is no store", "Store[str, int]", "'total'")


def test_timer_with_wrong_types(program: Program) -> None:
    """A timer that sees its function's store as another one."""
    stage = program.app.function(program.numbers)(keep)

    @stage.every(timedelta(seconds=1))
    def tick(total: sf.Store[int, int]) -> None:  # here
        """A timer."""

    check(program.app, "expects keys of type int", "keys of type str", "[str, int]")
