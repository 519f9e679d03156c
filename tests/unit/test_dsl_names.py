"""Names of stateful stages: derived from what they do and their inputs, and stable.

They name stores and topics that outlive the program, so a change in one place must rename nothing
in another.
"""

from collections.abc import Callable
from datetime import timedelta

import pytest

import streamfn as sf
from streamfn.graph.plan import plan

HOUR = timedelta(hours=1)


class Program:
    """A program with a bit of everything, into which a stage can be put."""

    def __init__(self) -> None:
        self.app = sf.App("app")
        self.numbers = self.app.topic("numbers", key=str, value=int)
        self.texts = self.app.topic("texts", key=str, value=str)
        self.stream, self.words = self.app.stream(self.numbers), self.app.stream(self.texts)

    def write(self) -> "Program":
        """Write all stages, on top of what was done to the streams before."""
        names = self.app.table(self.texts)
        grouped = self.stream.group_by(lambda number: str(number))
        hourly = grouped.window(sf.Tumbling(HOUR)).count()
        hourly.suppress("close").to_stream()
        grouped.window(sf.Tumbling(HOUR)).late()
        counted = grouped.count()
        counted.group_by(lambda number: str(number)).count()
        self.stream.join(names, lambda number, name: name, value=str).to_table()
        self.stream.join(self.words, lambda number, word: word, HOUR)
        counted.join(names, lambda number, name: name, on=lambda number: "", value=str)
        self.stream.group_by_key().cogroup(max, value=int).cogroup(
            self.stream.group_by_key(), max
        ).aggregate(0)
        return self

    def internal_topics(self) -> set[str]:
        """The topics whose names must not change."""
        return {topic.name for topic in plan(self.app.topology()).internal_topics}


def nothing(program: Program) -> None:
    """Change nothing."""


def filtered(program: Program) -> None:
    """Put stages in between."""
    program.stream = program.stream.filter(lambda number: number > 0).peek(print)
    program.words = program.words.map_values(str.strip, value=str)


def unrelated(program: Program) -> None:
    """Put other stateful stages before."""
    others = program.app.topic("others", key=str, value=int)
    program.app.stream(others).group_by(lambda number: str(number)).count()
    program.app.stream(others).filter(lambda number: True).group_by_key().reduce(max)


NAMES = {
    "app-numbers-by-str-repartition",
    "app-numbers-by-str-tumbling-1h-count-changelog",
    "app-numbers-by-str-tumbling-1h-count-suppress-changelog",
    "app-numbers-by-str-tumbling-1h-late-changelog",
    "app-numbers-by-str-count-changelog",
    "app-numbers-by-str-count-by-str-repartition",
    "app-numbers-by-str-count-by-str-count-changelog",
    "app-texts-table-changelog",
    "app-numbers-join-texts-table-table-changelog",
    "app-numbers-join-texts-left-changelog",
    "app-numbers-join-texts-right-changelog",
    "app-numbers-by-str-count-join-texts-table-subscriptions-repartition",
    "app-numbers-by-str-count-join-texts-table-answers-repartition",
    "app-numbers-by-str-count-join-texts-table-subscriptions-changelog",
    "app-numbers-by-str-count-join-texts-table-changelog",
    "app-numbers-cogroup-changelog",
}


@pytest.mark.parametrize("change", [nothing, filtered, unrelated])
def test_names_are_stable(change: Callable[[Program], None]) -> None:
    """A stage put in somewhere renames no store and no topic of another one."""
    program = Program()
    change(program)
    found = program.write().internal_topics()
    assert found >= NAMES
    assert all("others" in name for name in found - NAMES)


def test_said_names() -> None:
    """A name that is said names the stage, its store and its topics."""
    program = Program()
    program.stream.group_by(lambda number: "a", name="letters").count(name="per-letter")
    left = program.app.table(program.numbers, name="left")
    right = program.app.table(program.texts, name="right")
    left.join(right, lambda a, b: b, on=lambda number: "", value=str, name="met")
    program.stream.outer_join(program.words, lambda a, b: b, HOUR, name="near")
    assert program.internal_topics() == {
        "app-letters-repartition",
        "app-per-letter-changelog",
        "app-left-changelog",
        "app-right-changelog",
        "app-met-changelog",
        "app-met-subscriptions-changelog",
        "app-met-subscriptions-repartition",
        "app-met-answers-repartition",
        "app-near-left-changelog",
        "app-near-right-changelog",
        "app-near-unmatched-changelog",
    }
