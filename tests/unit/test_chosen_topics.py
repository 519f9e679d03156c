"""Topics chosen record by record: where records go, what is refused, what a failure leaves."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamfn as sf
from streamfn.errors import StageError
from streamfn.testing.driver import TestDriver
from tests.unit.one_task import OneTask


class Program:
    """Orders go to the topic that ``choose`` names; what says ``bad`` fails behind that."""

    def __init__(
        self, choose: Callable[[Any], Any], *, topics: Any = None, on_error: Any = "fail"
    ) -> None:
        self.app = sf.App("app", on_error=on_error)
        self.orders = self.app.topic("orders", key=str, value=str)
        self.large = self.app.topic("large", key=str, value=str, partitions=3)
        self.numbers = self.app.topic("numbers", key=str, value=int)
        stream = self.app.stream(self.orders)
        stream.to(choose, topics=topics, name="route")
        stream.map_values(_checked, value=str).to("checked")

    def send(self, driver: TestDriver, *values: str) -> None:
        """Process orders."""
        for value in values:
            driver.send(self.orders, value, key="k", timestamp_ms=7)

    def read(self, driver: TestDriver, name: str) -> list[Any]:
        """The values of a topic since the last look."""
        topic = sf.App("other").topic(name, key=str, value=str)
        return [record.value for record in driver.read(topic)]


def _checked(value: str) -> str:
    if value == "bad":
        message = "a bad order"
        raise ValueError(message)
    return value


def test_topic_or_name_is_chosen() -> None:
    """A topic object has its own types and width; a name that nobody knows the stream's."""
    known: dict[str, Any] = {}
    program = Program(lambda value: known.get(value, f"orders-{value}"))
    known["large"] = program.large
    with TestDriver(program.app) as driver:
        program.send(driver, "large", "small", "large", "tiny")
        assert program.read(driver, "large") == ["large", "large"]
        assert program.read(driver, "orders-small") == ["small"]
        assert program.read(driver, "orders-tiny") == ["tiny"]
        inside: Any = driver
        assert inside._log.topics(["large"])["large"].partitions == 3


def test_name_of_a_declared_topic_has_its_types() -> None:
    """A value that does not fit the declared topic is a failing record."""
    program = Program(lambda value: "numbers")
    wrong = "'numbers' takes json"
    with TestDriver(program.app) as driver, pytest.raises(StageError, match=wrong) as caught:
        program.send(driver, "text")
    assert caught.value.stage == "route"


def test_function_may_take_the_key() -> None:
    """``fn(key, value)``."""
    program = Program(lambda value: "checked")
    program.app.stream(program.orders).to(lambda key, value: f"of-{key}")
    with TestDriver(program.app) as driver:
        program.send(driver, "a")
        assert program.read(driver, "of-k") == ["a"]


def test_chosen_topics_outlive_a_restart() -> None:
    """They are made once, and written to again."""
    program = Program(lambda value: f"to-{value}")
    with TestDriver(program.app) as driver:
        program.send(driver, "a")
        driver.restart()
        program.send(driver, "a", "b")
        assert program.read(driver, "to-a") == ["a", "a"]
        assert program.read(driver, "to-b") == ["b"]


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (None, "'route' cannot tell where a record goes; it answered NoneType None; answer with"),
        (["large"], "it answered list"),
        ("two words", "chose 'two words'; a topic's name is 1 to 249 of the characters"),
        ("..", "a topic's name is"),
        ("app-tasks", "that one is the application's own; name another"),
        ("app-count-changelog", "that one is the application's own; name another"),
    ],
)
def test_what_names_no_topic_is_a_failing_record(answer: Any, wrong: str) -> None:
    """With place, got and cure."""
    program = Program(lambda value: answer)
    program.app.stream(program.orders).group_by_key().count(name="count")
    with pytest.raises(StageError, match=wrong) as caught, TestDriver(program.app) as driver:
        program.send(driver, "a")
    assert caught.value.stage == "route"


def test_only_declared_topics_may_be_chosen() -> None:
    """Where ``topics=`` says which there are."""
    program = Program(lambda value: value, topics=("large", "small"))
    with TestDriver(program.app) as driver:
        program.send(driver, "large", "small")
        assert program.read(driver, "small") == ["small"]
        with pytest.raises(StageError, match="chose 'tiny'; answer with one of 'large', 'small'"):
            program.send(driver, "tiny")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "bad"]), max_size=20))
def test_failing_record_leaves_nothing(values: list[str]) -> None:
    """Not even in a topic that it was the first to choose, within one batch."""
    program = Program(lambda value: f"to-{value}", on_error="skip")
    task = OneTask(program.app)
    task.send("orders", [("k", value, 0) for value in values])
    sent = {topic: columns.values for topic, columns in task.task.scope.outputs.items()}
    good = [value.encode() for value in values if value != "bad"]
    for value in ("a", "b", "c", "bad"):
        assert sent.get(f"to-{value}", []) == [each for each in good if each == value.encode()]
    assert sent.get("checked", []) == good


def test_headers_go_along() -> None:
    """Those of the record that chose."""
    program = Program(lambda value: "anywhere")
    task = OneTask(program.app)
    task.send("orders", [("k", "a", 0), ("k", "b", 0, (("h", b"1"),))])
    assert [row[3] for row in task.output("anywhere")] == [(), (("h", b"1"),)]


def test_on_kafka_a_missing_topic_is_not_made() -> None:
    """The record that chose it fails and says so; what was before it is committed."""
    program = Program(lambda value: "missing" if value == "lost" else "checked")
    with TestDriver(program.app, options={"broker": "stands.for:9092"}) as driver:
        program.send(driver, "a")
        with pytest.raises(StageError, match=r"'missing' does not exist.+ are never created") as e:
            program.send(driver, "lost")
        assert e.value.offset == 1
        assert program.read(driver, "checked") == ["a", "a"]
