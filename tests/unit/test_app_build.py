"""Mistakes in apps, topics, tables and functions: at the user's line, what was got, what to do."""

# Wrong programs are written against Any: else the type checkers would refuse them first.
# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false

from collections.abc import Iterator
from datetime import timedelta

import pytest

import streamfn as sf
from tests.unit.wrong_programs import (
    Program,
    check,
    is_marked,
    mistakes_of,
    print_number,
)


@pytest.fixture
def program() -> Program:
    """A fresh program."""
    return Program()


def test_empty_app() -> None:
    """A program that does nothing, told of where it was made and not of where it was built."""
    app = sf.App("app")  # here
    check(app, "app 'app' does nothing", "no stage", "declare a function")


def test_app_name() -> None:
    """A name that no topic could have; that the app does nothing yet is then not told too."""
    app = sf.App("my app")  # here
    check(app, "the name of an app is not usable", "'my app'", "A-Z a-z 0-9")


def test_app_with_another_mistake() -> None:
    """An app that is wrong and empty is only told what is wrong."""
    app = sf.App("other", retries=-1)  # here
    check(app, "retries= is negative", "-1", "0 or more")


def test_topic_name(program: Program) -> None:
    """A topic whose name Kafka would not take."""
    program.app.topic("a/b", key=str, value=int)  # here
    check(program.app, "the name of a topic is not usable", "'a/b'", "A-Z a-z 0-9")


def test_topic_twice(program: Program) -> None:
    """A topic declared twice with different types."""
    program.app.topic("numbers", key=str, value=int)
    program.app.topic("numbers", key=str, value=str)  # here
    check(program.app, "'numbers' is declared twice", "value=str", "declare it once")


def test_topic_type(program: Program) -> None:
    """A topic of values that no serde carries."""
    program.app.topic("odd", key=str, value=Program)  # here
    check(program.app, "value= of topic 'odd' cannot go through", "Program", "another type")


def test_topic_key_type(program: Program) -> None:
    """A topic of keys that have no bytes of their own."""
    program.app.topic("odd", key=dict[int, int], value=int)  # here
    check(program.app, "key= of topic 'odd' cannot go through", "dict[int, int]", "another type")


def test_topic_partitions(program: Program) -> None:
    """A topic without partitions."""
    program.app.topic("other", key=str, value=int, partitions=0)  # here
    check(program.app, "partitions= of topic 'other'", "0", "at least 1")


def test_topic_with_an_internal_name(program: Program) -> None:
    """A topic that would be the changelog of a store."""

    @program.app.function(program.numbers)
    def seen(number: int, total: sf.Value[int]) -> None:
        total.value = number

    program.app.topic("app-seen-total-changelog", key=str, value=int)  # here
    check(program.app, "the name of an internal topic", "made for", "another name")


def test_policy(program: Program) -> None:
    """An error policy that does not exist."""
    program.app.function(program.numbers, on_error="ignore")(print_number)  # here
    check(program.app, "on_error= is unknown", "'ignore'", "'fail', 'skip', 'dead_letter'")


def test_retries(program: Program) -> None:
    """Fewer than no retries."""
    program.app.function(program.numbers, retries=-1)(print_number)  # here
    check(program.app, "retries= is negative", "-1", "0 or more")


def test_retry_backoff(program: Program) -> None:
    """A pause that ends before it begins."""
    program.app.function(program.numbers, retry_backoff=timedelta(-1))(print_number)  # here
    check(program.app, "retry_backoff= is negative", "timedelta", "positive timedelta")


def test_source(program: Program) -> None:
    """A function of something that is no source."""
    program.app.function("numbers")(print_number)  # here
    check(program.app, "the source of function() cannot be read", "'numbers'", "pass a topic")


def test_decorator_without_source(program: Program) -> None:
    """``@app.function`` without its source."""
    program.app.function(print_number)  # here
    check(program.app, "the source of function() cannot be read", "print_number", "pass a topic")


def test_source_of_another_app(program: Program) -> None:
    """A topic that another app declared."""
    program.app.stream(Program().numbers)  # here
    check(program.app, "stream() is of another app", "'numbers'", "declared in this app")


def test_table_of_another_app(program: Program) -> None:
    """A table of a topic declared elsewhere."""
    program.app.table(Program().numbers)  # here
    check(program.app, "table() is of another app", "'numbers'", "declared in this app")


def test_table_of_a_stream(program: Program) -> None:
    """A table of records that no topic keeps."""
    program.app.table(program.stream.filter(lambda number: True))  # here
    check(program.app, "table() keeps the values of a topic", "Stream", "write the records")


def test_table_key(program: Program) -> None:
    """A table whose keys cannot be sorted."""
    lists = program.app.topic("lists", key=list[int], value=int)
    program.app.table(lists)  # here
    check(program.app, "table 'lists-table' cannot be stored", "list[int]", "types")


def test_two_functions(program: Program) -> None:
    """Two functions of one name."""
    program.app.function(program.numbers)(print_number)

    def again() -> None:
        @program.app.function(program.texts, name="print_number")
        def other(text: str) -> None:  # here
            """Another function."""

    again()
    check(program.app, "'other' has the name of another stage", "'print_number'", "name=")


def test_function_named_as_topic(program: Program) -> None:
    """A function that has the name of the topic it reads."""

    @program.app.function(program.numbers)
    def numbers(number: int) -> None:  # here
        """A function."""

    check(program.app, "has the name of another stage", "the source at", "name=")
    assert isinstance(numbers, sf.Function)


def test_function_name(program: Program) -> None:
    """A name= that no topic could have."""

    @program.app.function(program.numbers, name="print it")
    def noted(number: int) -> None:  # here
        """A function."""

    check(program.app, "the name of function 'noted' is not usable", "'print it'", "A-Z")


def test_two_tables(program: Program) -> None:
    """Two tables of one name."""
    program.app.table(program.texts, name="last")
    program.app.table(program.numbers, name="last")  # here
    check(
        program.app, "table has the name of another stage", "the name of the table at", "say name"
    )


def test_lambda_as_function(program: Program) -> None:
    """A stage without a name."""
    program.app.function(program.numbers)(lambda number: None)  # here
    check(program.app, "a stage needs a name", "a lambda", "say name=")


def test_two_stores(program: Program) -> None:
    """Two stores of one name."""

    @program.app.function(program.texts)
    def seen(text: str, total: sf.Value[int]) -> None:
        """Keeps a number."""

    program.app.table(program.numbers, name="seen-total")  # here
    check(program.app, "two stores would be named 'seen-total'", "another one at", "name=")


def test_two_feeds(program: Program) -> None:
    """Two files for one topic and one name."""
    program.app.feed(program.numbers, "a.csv")
    program.app.feed(program.numbers, "b.csv")  # here
    check(program.app, "two feeds would be named 'numbers-feed'", "another feed", "name=")


def test_function_sink_types(program: Program) -> None:
    """Answers that their topic does not take."""

    @program.app.function(program.numbers, to=program.texts)
    def doubled(number: int) -> int:  # here
        return 2 * number

    check(program.app, "value does not fit topic 'texts'", "int for a topic", "convert before")
    assert doubled(2) == 4


def test_plain_answers_to_several_topics(program: Program) -> None:
    """Plain answers, though it has several topics."""

    @program.app.function(program.numbers, to=(program.numbers, program.texts))
    def routed(number: int) -> int:  # here
        return number

    check(program.app, "several topics and answers plain values", "int", "topic.record(")
    assert routed(2) == 2


def test_function_of_several_topics_as_stream(program: Program) -> None:
    """A function with several topics is read from those."""

    @program.app.function(program.numbers, to=(program.numbers, program.texts))
    def routed(number: int) -> sf.Outgoing[str, int]:
        return sf.Outgoing("numbers", "", number)

    routed.filter(lambda number: True)  # here
    check(program.app, "'routed' answers with records of several", "one stream", "'texts'")


def test_generator_answers(program: Program) -> None:
    """What a generator yields is what must fit."""

    @program.app.function(program.numbers, to=program.texts)
    def spelled(number: int) -> Iterator[int]:  # here
        yield number

    check(program.app, "value does not fit topic 'texts'", "int for a topic", "convert before")
    assert list(spelled(2)) == [2]


def test_lookup_without_table(program: Program) -> None:
    """A look-up that does not say in what."""

    @program.app.function(program.numbers)
    def fn(number: int, weather: sf.Lookup[str, int]) -> None:  # here
        """A function."""

    check(program.app, "does not say which table it reads", "no default", "= app.table(topic)")


def test_lookup_in_no_table(program: Program) -> None:
    """A look-up in something that is no table."""

    @program.app.function(program.numbers)
    def fn(number: int, seen: sf.Lookup[str, int] = {}) -> None:  # noqa: B006  # the mistake  # here
        """A function."""

    check(program.app, "default of parameter 'seen' of 'fn' is no table", "{}", "app.table(topic)")


def test_lookup_in_a_table_of_another_app(program: Program) -> None:
    """A look-up in a table that does not run with this app."""
    other = Program()
    table = other.app.table(other.numbers)

    @program.app.function(program.numbers)
    def fn(number: int, numbers: sf.Lookup[str, int] = table) -> None:  # here
        """A function."""

    check(program.app, "reads a table of another app", "'numbers-table'", "with the same app")


def test_lookup_of_other_keys(program: Program) -> None:
    """A look-up by keys that the table does not have."""
    table = program.app.table(program.numbers)

    @program.app.function(program.numbers)
    def fn(number: int, numbers: sf.Lookup[int, int] = table) -> None:  # here
        """A function."""

    check(program.app, "expects keys of type int", "keys of type str", "[str, int]")


def test_shared_store_of_other_values(program: Program) -> None:
    """A table's store, shared as one of other values."""
    table = program.app.table(program.numbers)

    @program.app.function(program.numbers)
    def fn(number: int, numbers: sf.Store[str, str] = table) -> None:  # here
        """A function."""

    check(program.app, "expects values of type str", "values of type int", "[str, int]")


def test_all_mistakes_together(program: Program) -> None:
    """All mistakes are told at once, in the order of the source, each with its line."""
    mapped = program.stream.map_values(lambda number: number + 1)  # here

    @program.app.function(mapped.key_by(lambda number: "a"), to=program.texts)
    async def kept(number: int, total: sf.Value[int], more: str) -> int:  # here
        return number

    program.stream.filter(3)  # here
    found = mistakes_of(program.app)
    assert all(is_marked(mistake) for mistake in found)
    lines = [int(mistake.where.rsplit(":", 1)[1]) for mistake in found]
    assert lines == sorted(lines)
    assert len(found) == 5
    assert "map_values" in found[0].wrong
    assert {"async" in str(mistake) for mistake in found[1:4]} == {True, False}
    assert str(found[4]).endswith("got 3; pass fn(value) or fn(key, value)")
