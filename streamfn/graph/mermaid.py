"""A description as a Mermaid flowchart: topics outside, stages and stores in their sub-topology.

Facts come from ``graph.describe``, the text goes to ``streamfn describe --mermaid``. Invariant:
equal descriptions give equal text; ids count up in it, so that no name has to be a valid id.
"""

from collections.abc import Iterator

from streamfn.graph.describe import Description, StageFacts, SubtopologyFacts, counted


def to_mermaid(facts: Description) -> str:
    """Write a description as a flowchart from left to right."""
    return "\n".join(["flowchart LR", *(f"  {line}" for line in _Chart(facts).lines())])


class _Chart:
    """One flowchart, and the ids given in it."""

    def __init__(self, facts: Description) -> None:
        self._facts = facts
        self._ids: dict[tuple[str, str], str] = {}

    def lines(self) -> Iterator[str]:
        """Yield nodes, then edges."""
        for sub in self._facts.subtopologies:
            title = f"{sub.name} · {counted(len(sub.tasks), 'task')}"
            yield f'subgraph {self._id("sub", sub.name)}["{_escaped(title)}"]'
            yield from (f"  {line}" for line in self._inside(sub))
            yield "end"
        for name, internal in self._topics().items():
            opening, closing = ("{{", "}}") if internal else ("([", "])")
            yield f'{self._id("topic", name)}{opening}"{_escaped(name)}"{closing}'
        for feed in self._facts.feeds:
            node = self._id("feed", feed.name)
            yield f'{node}[/"{_escaped(feed.name)}"/] --> {self._id("topic", feed.topic)}'
        for sub in self._facts.subtopologies:
            yield from self._edges(sub)

    def _id(self, kind: str, name: str) -> str:
        return self._ids.setdefault((kind, name), f"n{len(self._ids)}")

    def _topics(self) -> dict[str, bool]:
        """The topics that records flow through, and whether each is internal."""
        internal = {t.name for t in self._facts.topics if t.purpose == "repartition"}
        stages = [stage for sub in self._facts.subtopologies for stage in sub.stages]
        names = [name for stage in stages for name in stage.topics]
        names += [feed.topic for feed in self._facts.feeds]
        return {name: name in internal for name in names}

    def _inside(self, sub: SubtopologyFacts) -> Iterator[str]:
        for stage in sub.stages:
            if stage.kind not in ("source", "sink"):
                label = stage.name if stage.kind == "function" else f"{stage.name}<br/>{stage.kind}"
                yield f'{self._id("stage", stage.name)}["{_escaped(label)}"]'
        for store in sub.stores:
            yield f'{self._id("store", store.name)}[("{_escaped(store.name)}")]'

    def _edges(self, sub: SubtopologyFacts) -> Iterator[str]:
        stages = {stage.name: stage for stage in sub.stages}
        for stage in sub.stages:
            if stage.kind == "source":
                continue
            for parent in stage.parents:
                for start in self._starts(stages[parent]):
                    yield from (f"{start} --> {end}" for end in self._ends(stage))
            for topic in stage.topics if stage.kind == "function" else ():
                yield f"{self._id('stage', stage.name)} --> {self._id('topic', topic)}"
            for store in stage.stores:
                yield f"{self._id('stage', stage.name)} -.- {self._id('store', store)}"

    def _starts(self, parent: StageFacts) -> list[str]:
        """Where an edge from a stage begins: a source is its topics."""
        if parent.kind == "source":
            return [self._id("topic", topic) for topic in parent.topics]
        return [self._id("stage", parent.name)]

    def _ends(self, stage: StageFacts) -> list[str]:
        """Where an edge to a stage ends: a sink is its topics."""
        if stage.kind == "sink":
            return [self._id("topic", topic) for topic in stage.topics]
        return [self._id("stage", stage.name)]


def _escaped(text: str) -> str:
    return text.replace('"', "#quot;")
