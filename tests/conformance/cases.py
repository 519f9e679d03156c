"""A recorded case: a topology, its input, and what Kafka Streams answered, as a line of JSON.

Read from a file of cases, and handed to ``build`` and ``run``. Invariant: a parameter of an op that
is not known here makes its case fail, so that none is passed over.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import DecodeError, Struct, ValidationError, field
from msgspec import json as msgspec_json

HERE = Path(__file__).parent
SHARED = HERE / "kafka-streams-4.1.jsonl"
"""The cases that are part of the tree."""

Compare = Literal["ordered", "per_key", "multiset"]


class Window(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Windows of a cogroup; the parameters of an op ``window`` are the same."""

    kind: Literal["tumbling", "hopping", "sliding", "session", "unlimited"]
    size: int = 0
    advance: int = 0
    gap: int = 0
    start: int = 0
    grace: int = 0
    retention: int | None = None


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """One grouped stream of a cogroup, and how its records are aggregated."""

    in_: str = field(name="in")
    fn: str


class Op(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An operator with all parameters there are; which of them count says ``op``."""

    op: str
    id: str = ""
    in_: str = field(name="in", default="")
    with_: str | tuple[str, ...] = field(name="with", default="")
    topic: str = ""
    fn: str = ""
    key_fn: str = ""
    sub_fn: str = ""
    merge_fn: str = ""
    init: str = ""
    store: str | None = None
    versioned: int | None = None
    predicates: tuple[str, ...] = ()
    default: bool = False
    kind: str = ""
    size: int = 0
    advance: int = 0
    gap: int = 0
    start: int = 0
    grace: int | None = None
    retention: int | None = None
    emit: Literal["update", "close"] = "update"
    parts: tuple[Part, ...] = ()
    window: Window | None = None
    until: Literal["close", "limit"] = "close"
    limit: int = 0
    max_records: int | None = None
    before: int = 0
    after: int = 0
    foreign_key: bool = False
    every: int = 0
    ttl: int = 0
    clock: Literal["stream", "wall"] = "stream"

    @property
    def inputs(self) -> list[str]:
        """The ids of the ops that feed it."""
        others = [self.with_] if isinstance(self.with_, str) else self.with_
        named = [self.in_, *others, *(part.in_ for part in self.parts)]
        return [name for name in named if name]


class Step(Struct, frozen=True):
    """A record of the input, or (without a topic) the wall clock moved."""

    topic: str | None = None
    key: str | None = None
    value: str | None = None
    ts: int = 0
    headers: tuple[tuple[str, str | None], ...] = ()
    advance_wall_ms: int = 0


class Answer(Struct, frozen=True):
    """A record of an output topic; ``after`` is the number of the step that wrote it."""

    after: int
    topic: str
    key: str | None
    value: str | None
    ts: int
    headers: tuple[tuple[str, str | None], ...] = ()


class Case(Struct, frozen=True):
    """A question with its answer. ``also`` is a second one that is as good (see ``quirk``)."""

    id: str
    features: list[str]
    compare: Compare
    ops: list[Op]
    input: list[Step]
    output: list[Answer]
    quirk: str | list[str] = ""
    also: list[Answer] | None = None
    headers: bool = False
    unreadable: str = ""
    """What is wrong with its line, if it is none that this runner understands."""

    @property
    def group(self) -> str:
        """The template it was made from."""
        return self.id.partition("/")[0]

    def users(self, name: str) -> list[Op]:
        """The ops that read another."""
        return [op for op in self.ops if name in op.inputs]


class CaseError(Exception):
    """A file of cases cannot be read."""


def read_cases(path: Path) -> Iterator[Case]:
    """Read a file of cases, one a line.

    Raises:
        CaseError: with the place of what is no case.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        message = f"cannot read cases from {path}: {error.strerror}"
        raise CaseError(message) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            yield msgspec_json.decode(line, type=Case)
        except ValidationError as error:
            yield _unreadable(line, f"{place} is no case: {error}")
        except DecodeError as error:
            message = f"{place} is no case: {error}"
            raise CaseError(message) from error


class _Named(Struct, frozen=True):
    """As much of a case as must be there."""

    id: str = "unnamed"
    features: list[str] = field(default_factory=list[str])


def _unreadable(line: bytes, error: str) -> Case:
    """A case that fails with an error, for a line that says something unknown."""
    try:
        named = msgspec_json.decode(line, type=_Named)
    except ValidationError:
        named = _Named()
    return Case(named.id, named.features, "ordered", [], [], [], unreadable=error)
