"""Sinks that choose the topic of each record.

A record comes in, a function of the user's names its topic, and the record goes to that topic's
columns, which are made when it is first named. Invariant: a record that fails leaves nothing in
any of them, whether they were there before or not.
"""

import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from streamfn.dsl.endpoints import Topic
from streamfn.engine.keys import KeyForm, to_object
from streamfn.engine.scope import Run
from streamfn.graph.topology import UNKNOWN, Sink, TopicSpec
from streamfn.record import Columns
from streamfn.serde import as_key_serde, as_serde, bound

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler

_TOPIC: Any = Topic
"""Untyped, as a check against the generic class would make the topic's types partly unknown."""
_USABLE: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
"""As Kafka has it."""


class Cut:
    """Stands in the journal for columns: what was appended to them is undone."""

    __slots__ = ("_columns",)

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def restore(self, key: bytes, old: int) -> None:
        """Cut the columns back to as long as they were."""
        self._columns.cut(old)


class Ways:
    """Where the records of one sink may go: topics by what the function answered."""

    def __init__(self, compiler: "Compiler", node: Sink, form: KeyForm) -> None:
        self._compiler, self._node, self._form = compiler, node, form
        self._declared = {topic.name: topic for topic in node.topics}

    def open(self, answer: Any) -> tuple[Run, Cut, Columns]:
        """Make the way to a topic that is named for the first time.

        Raises:
            TypeError: the answer names no topic that the sink may write to.
        """
        topic, scope = self._topic(answer), self._compiler.scope
        run = self._compiler.sink(topic, self._form, self._node.name, self._node.parents[0])
        scope.note_keys(topic.name, None)
        scope.chosen.setdefault(topic.name, topic)
        columns = scope.output(topic.name)
        return run, Cut(columns), columns

    def _topic(self, answer: Any) -> TopicSpec:
        spec: TopicSpec | None = answer.spec if isinstance(answer, _TOPIC) else None
        if spec is None and not isinstance(answer, str):
            self._refuse(f"answered {type(answer).__name__} {answer!r:.100}", self._cure())
        name = str(answer) if spec is None else spec.name
        if self._declared:
            if name not in self._declared:
                self._refuse(f"chose {name!r}", self._cure())
            return self._declared[name]
        if not _USABLE.fullmatch(name):
            cure = "a topic's name is 1 to 249 of the characters A-Z a-z 0-9 . _ -"
            self._refuse(f"chose {name!r:.100}", cure)
        if name in self._compiler.scope.internal:
            self._refuse(f"chose {name!r}", "that one is the application's own; name another")
        return spec or self._named(name)

    def _named(self, name: str) -> TopicSpec:
        """A topic as the program knows it, or with the types of the stream."""
        known = self._compiler.scope.topics.get(name)
        if known is not None:
            return known
        key, value = self._node.key, self._node.value
        if key is UNKNOWN or value is UNKNOWN:
            cure = "say the stream's types, or answer with a topic made by app.topic"
            self._refuse(f"chose {name!r}, whose types nobody has said", cure)
        written = bound(as_key_serde(key), name, key=True), bound(as_serde(value), name, key=False)
        return TopicSpec(name, *written)

    def _cure(self) -> str:
        known = ", ".join(map(repr, self._declared))
        return f"answer with one of {known}" if known else "answer with a topic or its name"

    def _refuse(self, got: str, cure: str) -> NoReturn:
        message = f"{self._node.name!r} cannot tell where a record goes; it {got}; {cure}"
        raise TypeError(message)


def compile_chosen(compiler: "Compiler", node: Sink, form: KeyForm) -> Run:
    """Send each record to the topic that ``choose(key, value)`` names."""
    choose, key_of, undo = node.choose, to_object(form), compiler.scope.undo
    assert choose is not None
    sink, ways = Ways(compiler, node, form), dict[Any, tuple[Run, Cut, Columns]]()

    def run(key: Any, value: Any, timestamp: int) -> None:
        answer = choose(key_of(key), value)
        try:
            send, cut, columns = ways[answer]
        except (KeyError, TypeError):  # new, or not even hashable
            send, cut, columns = ways[answer] = sink.open(answer)
        undo.append((cut, b"", len(columns)))
        send(key, value, timestamp)

    return run
