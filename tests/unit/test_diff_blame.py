"""Who is to blame: the stage that differs first, and not those behind it."""

import pytest

from streamfn.record import TopicPartition
from streamfn.replay.diff.blame import Blame, Suspect, followed, suspect
from streamfn.replay.diff.graph import Graph, Stage, Written, merged
from streamfn.replay.diff.kinds import Comparison, Options
from streamfn.replay.diff.two_versions import Versions
from streamfn.replay.effects import Effects, Raised

SOURCE = TopicPartition("in", 0)
TAPS = {f"stage:{name}": Written() for name in ("check", "total", "label")}
GRAPH = Graph(
    "app",
    (
        Stage("in", reads="in", passes=True),
        Stage("check", ("in",)),
        Stage("total", ("check",), ("totals",), stores=("total-sum",), remembers=True),
        Stage("label", ("total",), ("labels",)),
        Stage("other", ("check",), ("others",)),
    ),
    {"totals": Written(), "labels": Written(), "others": Written(), **TAPS},
    "app-dead-letters",
    ("total-sum",),
)
"""in → check → total → label, and check → other, which has no tap."""


def effects(
    topic: str, values: dict[int, str], headers: tuple[tuple[str, bytes], ...] = ()
) -> Effects:
    """A row for each input record."""
    ranks = sorted(values)
    return Effects(
        topic, 0, 0, [b"k"] * len(ranks), [values[rank].encode() for rank in ranks], ranks,
        dict.fromkeys(range(len(ranks)), headers) if headers else {}, ranks,
        [(SOURCE, rank) for rank in ranks], ["?"] * len(ranks),
    )  # fmt: skip


def compared(
    before: dict[str, dict[int, str]],
    after: dict[str, dict[int, str]],
    letters: dict[int, str] | None = None,
) -> Comparison:
    """Compare rows of topics; ``letters`` are the stages that fail in the second version."""
    versions = Versions(GRAPH, GRAPH, Options())
    for side, made in enumerate((before, after)):
        for topic, values in made.items():
            versions.effects(side, [effects(topic, values)])
    for rank, stage in (letters or {}).items():
        headers = (("streamfn.stage", stage.encode()), ("streamfn.error", b"ValueError"))
        versions.effects(1, [effects("app-dead-letters", {rank: "{}"}, headers)])
    versions.settle(whole=True)
    comparison = Comparison("app", "before", "after", [])
    versions.finish(comparison)
    return comparison


def groups(comparison: Comparison) -> set[tuple[str, str, str]]:
    """Stage, kind, and whom it follows."""
    return {(group.stage, group.kind, group.follows) for group in comparison.groups}


A, B = {1: "1", 2: "2", 3: "3"}, {1: "1", 2: "9", 3: "3"}


def test_first_stage_is_to_blame() -> None:
    """What is behind it differs at the same record, and follows."""
    names = ("stage:check", "stage:total", "totals", "stage:label", "labels", "others")
    found = compared(dict.fromkeys(names, A), dict.fromkeys(names, B))
    assert found.blamed == ["check"]
    assert groups(found) == {
        ("check", "changed", ""),
        ("total", "changed", "check"),
        ("label", "changed", "check"),
        ("other", "changed", "check"),
    }
    assert (found.records, found.different) == (18, 6)


def test_state_carries_a_difference() -> None:
    """A stage that remembers follows an earlier difference; one that does not, does not."""
    late = {1: "1", 2: "2", 3: "9"}
    found = compared(
        {"stage:check": A, "stage:total": A, "stage:label": A},
        {"stage:check": B, "stage:total": late, "stage:label": late},
    )
    assert groups(found) == {
        ("check", "changed", ""),
        ("total", "changed", "check"),
        ("label", "changed", "check"),
    }
    found = compared(
        {"stage:check": A, "stage:total": A, "stage:label": A},
        {"stage:check": B, "stage:total": A, "stage:label": late},
    )
    assert found.blamed == ["check", "label"]


def test_own_difference_stays_own() -> None:
    """A stage that differed before anything upstream did is to blame itself."""
    found = compared(
        {"stage:check": A, "stage:total": A},
        {"stage:check": {**A, 3: "9"}, "stage:total": {**A, 1: "8", 3: "9"}},
    )
    assert ("total", "changed", "") in groups(found)
    assert found.blamed == ["check", "total"]


def test_failure_undoes_what_was_upstream() -> None:
    """A record that fails takes back what it did before: that is no difference of those stages."""
    gone = {1: "1", 3: "3"}
    names = ("stage:check", "stage:total", "totals", "stage:label")
    found = compared(dict.fromkeys(names, A), dict.fromkeys(names, gone), {2: "label"})
    assert groups(found) == {
        ("label", "raised", ""),
        ("check", "missing", "label"),
        ("total", "missing", "label"),
        ("label", "missing", "label"),
    }
    (raised,) = (group for group in found.groups if group.kind == "raised")
    assert raised.examples[0].actual == "ValueError: "


def test_failure_may_follow_too() -> None:
    """A stage that fails behind one that gives other records something else follows it."""
    before = {"stage:check": A, "stage:total": A}
    after = {"stage:check": {1: "1", 3: "7"}, "stage:total": {1: "1", 3: "7"}}
    found = compared(before, after, {2: "total"})
    assert ("total", "raised", "check") in groups(found)
    assert found.blamed == ["check"]


def test_raised_is_compared() -> None:
    """Failures under ``on_error`` fail come apart from the rows."""
    versions = Versions(GRAPH, GRAPH, Options())
    for side, (offset, text) in enumerate([(1, "no"), (1, "oh no")]):
        root = (SOURCE, offset)
        raised = Raised("check", "t", SOURCE, offset, root, b"k", "ValueError", text, "")
        versions.raised(side, raised)
    only = Raised("total", "t", SOURCE, 2, (SOURCE, 2), b"k", "KeyError", "'x'", "")
    versions.raised(1, only)
    versions.settle(whole=True)
    comparison = Comparison("app", "before", "after", [])
    versions.finish(comparison)
    assert {(g.stage, g.field, g.kind) for g in comparison.groups} == {
        ("check", "<error>", "changed"),
        ("total", "", "raised"),
    }


def test_topics_alone() -> None:
    """Against the real run: behind a differing stage all follow; an unseen one is suspected."""
    assert followed(["label", "total"], GRAPH) == {"total": "", "label": "total"}
    seen = ["total", "label", "other"]
    assert suspect(["total", "other"], seen, GRAPH) == Suspect("check", ("total", "other"))
    assert str(suspect(["total", "other"], seen, GRAPH)) == (
        "check, or what is between it and total and other"
    )
    assert suspect(["total"], seen, GRAPH) is None
    assert suspect(["total", "other"], [*seen, "check"], GRAPH) is None


@pytest.mark.parametrize("first", [True, False])
def test_merged_versions(first: bool) -> None:
    """Two versions together have the stages and edges of both, parents first."""
    more = (Stage("more", ("check",)), Stage("total", ("more",), ("totals",)))
    longer = Graph("app", (*GRAPH.stages[:2], *more), {}, "app-dead-letters")
    sides = (GRAPH, longer) if first else (longer, GRAPH)
    names = [stage.name for stage in merged(*sides).stages]
    assert names.index("check") < names.index("more") < names.index("total") < names.index("label")
    assert Blame(merged(*sides)).upstream.above("total") == ("in", "check", "more")
