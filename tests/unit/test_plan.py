"""What a topology needs: where it is cut, what that is called, and how wide it is."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from collections.abc import Callable
from typing import Any

import pytest

import streamfn as sf
from streamfn.errors import TopologyError
from streamfn.graph.plan import FOREVER, Plan, Subtopology, plan
from streamfn.graph.topology import AnyNode, Function, Repartition, Source, Topology
from streamfn.serde import as_key_serde


def with_state(number: int, total: sf.Value[int]) -> int:
    """A function that needs its keys together."""
    return number


def without_state(number: int) -> int:
    """A function that does not."""
    return number


class Program:
    """An app with topics; of any type, so that wrong programs can be written."""

    def __init__(self, partitions: int | None = 2, on_error: Any = "fail") -> None:
        self.app: Any = sf.App("app", on_error=on_error)
        self.numbers: Any = self.app.topic("numbers", key=str, value=int, partitions=partitions)
        self.out: Any = self.app.topic("out", key=str, value=int)
        self.stream: Any = self.app.stream(self.numbers)

    def topic(self, name: str, partitions: int | None = None) -> Any:
        """One more topic."""
        return self.app.topic(name, key=str, value=int, partitions=partitions)

    def keyed(self, stream: Any, name: str) -> Any:
        """A function with state behind a stream."""
        return self.app.function(stream, name=name)(with_state)

    def plain(self, stream: Any, name: str) -> Any:
        """A function without state behind a stream."""
        return self.app.function(stream, name=name)(without_state)

    def by(self, name: str = "by", stream: Any = None, **options: Any) -> Any:
        """The stream under another key."""
        return (stream or self.stream).key_by(lambda number: str(number), name=name, **options)

    def reader(self, stream: Any, table: Any) -> None:
        """A function that looks up in a table."""

        def look(number: int, rows: sf.Lookup[str, int] = table) -> int:
            return number

        self.app.function(stream)(look)

    def plan(self, **existing: int) -> Plan:
        """What it needs."""
        return plan(self.app.topology(), existing)


def shape(planned: Plan) -> dict[str, tuple[int, dict[str, int]]]:
    """Each sub-topology's width and its topics' partitions."""
    return {s.name: (s.partitions, dict(s.source_partitions)) for s in planned.subtopologies}


def internal(planned: Plan, purpose: str = "") -> dict[str, int]:
    """Internal topics with their partitions."""
    topics = planned.internal_topics
    return {t.name: t.partitions for t in topics if purpose in t.purpose}


def names_in(sub: Subtopology) -> set[str]:
    """The user's nodes in a sub-topology."""
    return {name for name, node in sub.nodes.items() if isinstance(node, Function)}


# where it is cut
def test_a_change_of_key_before_state_is_a_repartition() -> None:
    """Only the last one; the function behind it is in a sub-topology of its own."""
    program = Program()
    program.keyed(program.by(stream=program.by("first")), "count")
    planned = program.plan()
    assert shape(planned) == {
        "numbers": (2, {"numbers": 2}),
        "by": (2, {"app-by-repartition": 2}),
    }
    assert [names_in(sub) for sub in planned.subtopologies] == [set(), {"count"}]
    assert internal(planned) == {"app-by-repartition": 2, "app-count-total-changelog": 2}


@pytest.mark.parametrize("way", ["to", "plain", "again", "branch"])
def test_no_state_no_repartition(way: str) -> None:
    """To a topic, to a function without state, before another change of key: nothing to do."""
    program = Program()
    stream = program.by()
    if way == "to":
        stream.to(program.out)
    elif way == "plain":
        program.plain(stream, "plain")
    elif way == "again":
        program.by("again", stream).to(program.out)
    else:
        stream.split(lambda n: n > 1)[0].map_values(lambda n: n, value=int).to(program.out)
    assert internal(program.plan()) == {}
    assert len(program.plan().subtopologies) == 1


def test_two_functions_share_a_repartition() -> None:
    """One topic for both, and for what stands between; a sink beside them stays before it."""
    program = Program()
    stream = program.by()
    stream.to(program.out)
    program.keyed(stream, "one")
    program.keyed(stream.filter(lambda n: n > 1), "two")
    planned = program.plan()
    assert internal(planned, "repartition") == {"app-by-repartition": 2}
    before, behind = planned.subtopologies
    assert "by-to-out" in before.nodes
    assert names_in(behind) == {"one", "two"}


@pytest.mark.parametrize("operator", ["map", "flat_map"])
def test_map_and_flat_map_change_the_key(operator: str) -> None:
    """Whether they do or not; their types must be known."""
    program = Program()
    step = getattr(program.stream, operator)
    program.keyed(step(lambda k, v: (k, v), key=str, value=int, name="mapped"), "count")
    assert internal(program.plan(), "repartition") == {"app-mapped-repartition": 2}
    broken = Program()
    step = getattr(broken.stream, operator)
    broken.keyed(step(lambda k, v: (k, v), key=str, name="mapped"), "count")
    with pytest.raises(TopologyError, match=r"value type behind .*mapped.* is unknown"):
        broken.plan()


def test_a_merge_sends_only_what_was_changed() -> None:
    """The unchanged stream goes straight; the changed one takes its width."""
    program = Program(3)
    others = program.app.stream(program.topic("others", 5))
    program.keyed(program.by(stream=others).merge(program.stream), "count")
    assert shape(program.plan()) == {
        "others": (5, {"others": 5}),
        "by": (3, {"app-by-repartition": 3, "numbers": 3}),
    }


def test_a_stream_merged_with_itself_under_another_key() -> None:
    """A sub-topology may feed itself."""
    program = Program(3)
    program.keyed(program.stream.merge(program.by()), "count")
    planned = program.plan()
    assert shape(planned) == {"by": (3, {"app-by-repartition": 3, "numbers": 3})}
    assert internal(planned) == {"app-by-repartition": 3, "app-count-total-changelog": 3}


def test_two_topics_that_feed_each_other() -> None:
    """Each merged with the other under another key: a ring of sub-topologies, none is lost."""
    program = Program(3)
    others = program.app.stream(program.topic("others", 5))
    program.keyed(program.stream.merge(program.by("other", others)), "one")
    program.keyed(others.merge(program.by("mine")), "two")
    planned = program.plan()
    assert shape(planned) == {
        "numbers": (3, {"numbers": 3, "app-other-repartition": 3}),
        "mine": (5, {"others": 5, "app-mine-repartition": 5}),
    }
    assert {name for sub in planned.subtopologies for name in names_in(sub)} == {"one", "two"}


def test_a_ring_behind_a_repartition() -> None:
    """One with internal sources only, one of them its own."""
    program = Program(3)
    again = program.stream.repartition(name="again")
    program.keyed(again.merge(program.by(stream=again)), "count")
    widths = {"app-again-repartition": 3, "app-by-repartition": 3}
    assert shape(program.plan()) == {"numbers": (3, {"numbers": 3}), "again": (3, widths)}


def test_a_table_looked_up_by_its_own_topic_under_another_key() -> None:
    """Table and re-keyed stream of one topic are one sub-topology that feeds itself."""
    program = Program()
    table = program.app.table(program.numbers)
    program.reader(program.by(), table)
    planned = program.plan()
    assert shape(planned) == {"by": (2, {"numbers": 2, "app-by-repartition": 2})}
    assert internal(planned, "changelog") == {"app-numbers-table-changelog": 2}


# explicit repartitions
def test_an_explicit_repartition_is_made_even_without_state() -> None:
    """With its own width; named after its stream, its task not after the stream's topic."""
    program = Program()
    program.stream.repartition(partitions=7).to(program.out)
    planned = program.plan()
    assert internal(planned) == {"app-numbers-repartition": 7}
    assert shape(planned) == {
        "numbers": (2, {"numbers": 2}),
        "numbers-repartition": (7, {"app-numbers-repartition": 7}),
    }


def test_an_explicit_repartition_replaces_the_automatic_one() -> None:
    """Behind a change of key there is only the explicit one; its state is as wide as it."""
    program = Program()
    program.keyed(program.by().repartition(partitions=7), "count")
    planned = program.plan()
    assert internal(planned) == {"app-by-repartition": 7, "app-count-total-changelog": 7}
    assert planned.tokens == 7


def test_a_repartition_is_as_wide_as_what_it_feeds() -> None:
    """Or else as what feeds it, through several."""
    program = Program()
    wide = program.stream.repartition(name="wide", partitions=8)
    program.keyed(wide.repartition(name="next"), "count")
    program.keyed(program.by("by", wide).map_values(lambda n: n, value=int), "other")
    widths = internal(program.plan(), "repartition")
    assert widths == {"app-wide-repartition": 8, "app-next-repartition": 8, "app-by-repartition": 8}


def test_repartitions_that_would_share_a_topic() -> None:
    """Two names that differ in the suffix only are a mistake, not one topic for both."""
    program = Program()
    program.keyed(program.stream.repartition(name="same"), "one")
    program.keyed(program.stream.repartition(name="same-repartition"), "two")
    with pytest.raises(TopologyError, match="would use the topic of another one"):
        program.plan()


def test_types_unknown_to_the_plan_itself() -> None:
    """A topology from elsewhere is checked as well."""
    topic = Program().numbers.spec
    nodes: list[AnyNode] = [
        Source(name="numbers", topic=topic, key=str, value=int),
        Repartition(name="r", parents=("numbers",), key=str, where="here:1"),
        Function(name="f", parents=("r",), fn=print, parameters=()),
    ]
    with pytest.raises(TopologyError, match="value type of 'r' must be known"):
        plan(Topology("app", {node.name: node for node in nodes}))


def test_keys_travel_by_their_type() -> None:
    """The internal topic carries key and value by the stream's types."""
    program = Program()
    program.keyed(program.stream.key_by(lambda n: n, key=int, name="by"), "count")
    (source,) = program.plan().subtopologies[1].sources
    assert (source.topic.key.type, source.topic.value.type) == (int, int)
    assert source.topic.key.encode(5) == as_key_serde(int).encode(5)


# names
def everything(program: Program) -> None:
    """One of each that has a name in the log or on disk."""
    program.keyed(program.by(), "count")
    program.keyed(program.stream.filter(lambda n: n > 1), "large")
    program.stream.repartition(name="again").to(program.out)
    program.app.table(program.topic("rows"))


def unrelated(program: Program) -> None:
    """Stages that have nothing to do with the others."""
    more = program.app.stream(program.topic("aaa", 6))
    program.keyed(program.by("aaa-by", more), "aaa-count")
    program.app.table(program.topic("zzz"))
    program.plain(more.map_values(lambda n: n, value=int), "aaa-plain")


@pytest.mark.parametrize("order", [(unrelated, everything), (everything, unrelated)])
def test_names_do_not_depend_on_other_stages(order: tuple[Callable[[Program], None], ...]) -> None:
    """Nothing is renamed or resized by what is added before or behind."""
    alone, more = Program(), Program()
    everything(alone)
    for add in order:
        add(more)
    one, two = alone.plan(), more.plan()
    assert shape(one).items() <= shape(two).items()
    assert internal(one).items() <= internal(two).items()
    assert len(shape(two)) == len(shape(one)) + 3
    assert set(shape(one)) == {"numbers", "by", "again", "rows"}


def test_names_do_not_depend_on_stateless_stages_in_between() -> None:
    """A filter before or behind a change of key renames no state."""
    plain, filtered = Program(), Program()
    plain.keyed(plain.by(), "count")
    stream = filtered.by(stream=filtered.stream.filter(lambda n: n > 1))
    filtered.keyed(stream.map_values(lambda n: n, value=int), "count")
    assert internal(plain.plan()) == internal(filtered.plan())
    assert shape(plain.plan()) == shape(filtered.plan())


def test_names_of_topics_and_of_the_plan() -> None:
    """As Kafka Streams names them, and what they are for."""
    program = Program(on_error="dead_letter")
    everything(program)
    planned = program.plan()
    assert planned.changelog("count-total") in internal(planned, "changelog")
    assert planned.dead_letter_topic in internal(planned, "dead letters")
    configs = {topic.purpose: dict(topic.config) for topic in planned.internal_topics}
    assert configs["changelog"] == {"cleanup.policy": "compact", "retention.ms": "-1"}
    assert configs["repartition"] == configs["dead letters"] == FOREVER


def test_subtopologies_have_names_of_their_own() -> None:
    """Whatever repartitions and topics are called."""
    program = Program()
    program.keyed(program.stream.repartition(), "one")
    rows = program.app.stream(program.topic("rows"))
    program.keyed(rows.repartition(name="rows-repartition"), "two")
    program.keyed(program.keyed(rows, "three").repartition(), "four")
    names = sorted(sub.name for sub in program.plan().subtopologies)
    assert names == ["numbers", "numbers-repartition", "rows", "rows-repartition", "three"]


# widths
def test_topics_that_meet_at_state_are_co_partitioned() -> None:
    """Else it is a mistake that names both and the cure."""
    program = Program()
    others = program.topic("others", 3)
    program.keyed(program.stream.merge(program.app.stream(others)), "count")
    with pytest.raises(TopologyError, match=r"'numbers' and 'others' meet .* 2 and 3 partitions"):
        program.plan()


def test_a_table_and_its_reader_are_co_partitioned() -> None:
    """They are one sub-topology, connected by the store only."""
    program = Program()

    table = program.app.table(program.topic("rows"))
    program.reader(program.numbers, table)
    assert shape(program.plan(rows=2)) == {"numbers": (2, {"numbers": 2, "rows": 2})}
    with pytest.raises(TopologyError, match="not co-partitioned"):
        program.plan(rows=3)


def test_without_state_widths_may_differ() -> None:
    """A merge into a topic has as many tasks as the widest input."""
    program = Program()
    program.stream.merge(program.app.stream(program.topic("others", 3))).to(program.out)
    assert shape(program.plan()) == {"numbers": (3, {"numbers": 2, "others": 3})}


def test_an_explicit_repartition_that_does_not_fit() -> None:
    """A width of its own, other than that of the topic it meets, is a mistake."""
    program = Program()
    narrow = program.app.stream(program.topic("others", 4)).repartition(partitions=3, name="r")
    program.keyed(narrow.merge(program.stream), "count")
    with pytest.raises(TopologyError, match="2 and 3 partitions"):
        program.plan()


@pytest.mark.parametrize("declared", [None, 4])
def test_topics_are_taken_as_they_are(declared: int | None) -> None:
    """A topic that exists gives the width, of sources and of sinks."""
    program = Program(partitions=declared)
    program.keyed(program.stream, "count").to(program.out)
    planned = program.plan(numbers=4, out=6)
    assert planned.partitions == {"numbers": 4, "out": 6}
    assert internal(planned) == {"app-count-total-changelog": 4}


def test_topics_that_exist_otherwise() -> None:
    """Another count than the declared one is a mistake, of sources and of sinks, all at once."""
    program = Program(partitions=4)
    program.stream.to(program.topic("other", 3))
    with pytest.raises(TopologyError) as caught:
        program.plan(numbers=2, other=6)
    told = [(mistake.wrong, mistake.got) for mistake in caught.value.mistakes]
    assert told == [
        ("topic 'numbers' is declared with 4 partitions", "a topic with 2"),
        ("topic 'other' is declared with 3 partitions", "a topic with 6"),
    ]


def test_tokens_are_as_many_as_the_widest_has_partitions() -> None:
    """Whether that is a user's topic or a repartition."""
    program = Program()
    program.app.table(program.topic("rows", 5))
    program.stream.to(program.topic("wide", 99))
    assert program.plan().tokens == 5
    program.stream.repartition(partitions=6).to(program.out)
    assert program.plan().tokens == 6


@pytest.mark.parametrize("of_the_app", [True, False])
def test_dead_letters_only_where_a_policy_needs_them(of_the_app: bool) -> None:
    """The app's, or that of a single function."""
    program = Program(on_error="skip")
    program.plain(program.stream, "plain")
    assert internal(program.plan()) == {}
    letters = Program(on_error="dead_letter" if of_the_app else "fail")
    policy = None if of_the_app else "dead_letter"

    letters.app.function(letters.numbers, on_error=policy)(without_state)
    assert internal(letters.plan()) == {"app-dead-letters": 1}
