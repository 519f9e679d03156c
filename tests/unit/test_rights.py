"""The least rights of a topology: what it touches and no more."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from typing import Any

import streamfn as sf
from streamfn.graph.plan import Plan, plan
from streamfn.graph.rights import Right, rights_of


def planned(on_error: Any = "fail", *, feed: bool = False) -> Plan:
    """A program with an input, an output, a look-up table, a repartition topic and a store."""
    app: Any = sf.App("app", on_error=on_error)
    numbers = app.topic("numbers", key=str, value=int, partitions=2)
    names = app.topic("names", key=str, value=str, partitions=2)
    out = app.topic("out", key=str, value=int)
    if feed:
        app.feed(numbers, "numbers.csv")

    table = app.table(names)

    def total(number: int, sum: sf.Value[int], known: sf.Lookup[str, str] = table) -> int:
        return number

    stream = app.stream(numbers).key_by(lambda number: str(number), name="by")
    app.function(stream, to=out)(total)
    return plan(app.topology())


def operations(rights: list[Right]) -> dict[tuple[str, str], str]:
    """Operations by kind and name."""
    return {(right.kind, right.name): " ".join(right.operations) for right in rights}


def test_each_resource_is_named_once_with_what_is_needed() -> None:
    """Inputs are read, outputs written; internal topics by purpose; nothing of the cluster."""
    found = operations(rights_of(planned("dead_letter")))
    owned = "Read Write Create Describe DescribeConfigs"
    assert found == {
        ("topic", "numbers"): "Read Describe",
        ("topic", "names"): "Read Describe",
        ("topic", "out"): "Write Describe DescribeConfigs",
        ("topic", "app-tasks"): "Create Describe",
        ("topic", "app-by-repartition"): "Read Write Create Delete Describe DescribeConfigs",
        ("topic", "app-total-sum-changelog"): owned,
        ("topic", "app-names-table-changelog"): owned,
        ("topic", "app-dead-letters"): "Write Create Describe DescribeConfigs",
        ("group", "app"): "Read Describe",
        ("transactional-id", "app-"): "Write Describe",
    }


def test_a_feed_writes_its_topic_and_its_position() -> None:
    """What a program both reads and loads needs both rights."""
    found = operations(rights_of(planned(feed=True)))
    assert found["topic", "numbers"] == "Read Write Describe DescribeConfigs"
    position = next(name for _, name in found if name.endswith("-position"))
    assert found["topic", position] == "Read Write Create Describe DescribeConfigs"


def test_options_take_rights_away_and_add_some() -> None:
    """Nothing is created under verify; no transactions at least once; a prefix for all topics."""
    program = planned()
    verified = rights_of(program, create_internal=False)
    assert not any("Create" in right.operations for right in verified)
    plain = rights_of(program, exactly_once=False)
    assert all(right.kind != "transactional-id" for right in plain)
    creating = operations(rights_of(program, create_user_topics=True))
    assert creating["topic", "numbers"] == "Read Create Describe"
    (internal,) = [r for r in rights_of(program, prefixed=True) if r.purpose == "internal topics"]
    assert (internal.name, internal.prefixed) == ("app-", True)
    assert " ".join(internal.operations) == "Read Write Create Delete Describe DescribeConfigs"
