"""What ``describe`` says of a program: the same names in text, JSON and flowchart."""

from datetime import timedelta

import msgspec
import pytest

import streamfn as sf
from streamfn.graph.describe import Description, aligned, counted, describe, to_text
from streamfn.graph.mermaid import to_mermaid
from streamfn.graph.plan import plan


def make_app() -> sf.App:
    """A program with a table, a change of key, a timer and policies."""
    app = sf.App("shop", on_error="dead_letter", retries=2)
    orders = app.topic("orders", key=str, value=int, partitions=3)
    prices = app.table(app.topic("prices", key=str, value=float, partitions=3))
    bills = app.topic("bills", key=str, value=int)

    def priced(order: int, price: sf.Lookup[str, float] = prices) -> int:
        return order

    price_of = app.function(orders)(priced)

    def billed(amount: int, total: sf.Value[int]) -> int:
        total.value += amount
        return total.value

    by_size = price_of.key_by(lambda amount: str(amount), key=str)
    bill = app.function(by_size, to=bills, on_error="skip", retries=0)(billed)

    @bill.every(timedelta(seconds=30))
    def sweep(context: sf.Context[str], total: sf.Store[str, int]) -> None:
        """Does nothing."""

    return app


@pytest.fixture
def facts() -> Description:
    """The description of that program."""
    return describe(plan(make_app().topology()))


def test_subtopologies_have_their_tasks(facts: Description) -> None:
    """A repartition parts the program, and each part has a task a partition."""
    tasks = {sub.name: sub.tasks for sub in facts.subtopologies}
    assert tasks["orders"] == ("orders_0", "orders_1", "orders_2")
    assert len(tasks) == 2


def test_stages_have_types_and_places(facts: Description) -> None:
    """Each stage is told with its types, its stores and the line it stands on."""
    stages = {stage.name: stage for sub in facts.subtopologies for stage in sub.stages}
    billed = stages["billed"]
    assert (billed.kind, billed.key, billed.value) == ("function", "str", "int")
    assert (billed.stores, billed.topics) == (("billed-total",), ("bills",))
    assert (billed.on_error, billed.retries) == ("skip", 0)
    assert [(timer.interval_ms, timer.clock) for timer in billed.timers] == [(30_000, "stream")]
    assert all("test_describe.py:" in stage.where for stage in stages.values() if stage.where)
    assert stages["prices-table"].kind == "table"


def test_topics_have_purposes(facts: Description) -> None:
    """The user's own topics and the internal ones are there, with what they are for."""
    purposes = {topic.name: topic.purpose for topic in facts.topics}
    assert purposes["orders"] == "source"
    assert purposes["bills"] == "sink"
    assert purposes["shop-billed-total-changelog"] == "changelog"
    assert purposes["shop-dead-letters"] == "dead letters"
    assert "repartition" in purposes.values()


def test_json_keys_are_stable(facts: Description) -> None:
    """Tools read these keys: one that goes away breaks them."""
    found = msgspec.json.decode(msgspec.json.encode(facts))
    assert set(found) == {
        *("application", "on_error", "retries", "retry_backoff_ms"),
        *("subtopologies", "topics", "feeds", "global_tables", "version"),
    }
    sub = found["subtopologies"][0]
    assert set(sub) == {"name", "tasks", "stages", "stores"}
    assert set(sub["stages"][0]) == {
        *("name", "kind", "parents", "key", "value", "where", "topics", "stores", "timers"),
        *("on_error", "retries"),
    }
    assert set(found["topics"][0]) == {
        *("name", "purpose", "partitions", "key", "value", "config", "where"),
    }


def test_text_names_everything_once(facts: Description) -> None:
    """The tree shows each stage under its source, and what hangs on it."""
    text = to_text(facts)
    lines = text.splitlines()
    assert lines[0].startswith("application shop: 2 sub-topologies, 6 tasks;")
    assert "dead_letter after 2 tries" in lines[0]
    assert "└─ billed" in text
    assert "every 30 s of stream time" in text
    assert max(map(len, lines)) < 160
    assert [line for line in lines if line != line.rstrip()] == []


def test_text_shows_a_merge_once() -> None:
    """A stage with two parents is a branch of the first, and only named under the second."""
    app = sf.App("merging")
    both = [app.topic(name, key=str, value=int) for name in ("left", "right")]
    out = app.topic("out", key=str, value=int)
    app.stream(both[0]).merge(app.stream(both[1])).to(out)
    text = to_text(describe(plan(app.topology())))
    assert text.count("(above)") == 1
    assert text.count("to topic out") == 1


def test_flowchart_joins_topics_stages_and_stores(facts: Description) -> None:
    """Every id in an edge is the id of a node, and a store hangs on its function."""
    lines = [line.strip() for line in to_mermaid(facts).splitlines()]
    assert lines[0] == "flowchart LR"
    nodes = {line.split("[")[0].split("(")[0].split("{")[0] for line in lines if '"' in line}
    edges = [line.split() for line in lines if "-->" in line or "-.-" in line]
    assert edges
    assert all(start in nodes and end in nodes for start, _, end in edges)
    assert any('[("billed-total")]' in line for line in lines)


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(1, "row", "1 row"), (0, "row", "0 rows"), (2, "sub-topology", "2 sub-topologies")],
)
def test_counted(number: int, noun: str, text: str) -> None:
    """One is one, all else is many."""
    assert counted(number, noun) == text


def test_aligned_pads_columns() -> None:
    """Cells of a column stand below each other; nothing trails."""
    assert aligned([("a", "b", ""), ("long", "c", "d")], " ") == [" a     b", " long  c  d"]
