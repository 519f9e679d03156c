"""What a function's signature says: what it asks for, what it answers, and every mistake in it."""

from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NewType

import msgspec
import pytest

import streamfn as sf
from streamfn.function.parameters import Stage
from streamfn.function.signature import Signature, read_signature
from streamfn.graph.topology import UNKNOWN, Parameter, StoreSpec

if TYPE_CHECKING:
    from fractions import Fraction

START = sf.Value(20.0)
LIST_START = sf.Value([1, 2])
Airport = NewType("Airport", str)


class Total(msgspec.Struct, frozen=True):
    """A state that starts by itself."""

    count: int = 0


class Reading(msgspec.Struct):
    """A value that does not: it must be given its temperature."""

    temperature: float


@dataclass
class Read:
    """A read signature and the mistakes told on the way."""

    signature: Signature
    mistakes: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The injected parameters by name."""
        return {parameter.name: parameter for parameter in self.signature.parameters}

    @property
    def stores(self) -> dict[str, StoreSpec]:
        """The stores by the name of the parameter."""
        return {name: each.store for name, each in self.parameters.items() if each.store}


def read(fn: Any, *, key: object = str, value: object = int, **names: object) -> Read:
    """Read a function as stage ``stage`` of a stream."""
    told: list[tuple[str, str, str]] = []

    def report(wrong: str, got: str, cure: str) -> None:
        told.append((wrong, got, cure))

    stage = Stage("stage", "file.py:1", key, value, None, report)
    return Read(read_signature(fn, names, stage), told)


def check(fn: Any, wrong: str, got: str, cure: str, *, key: object = str) -> None:
    """Check the only mistake of a function."""
    ((told_wrong, told_got, told_cure),) = read(fn, key=key).mistakes
    assert wrong in told_wrong
    assert got in told_got
    assert cure in told_cure


def test_each_kind() -> None:
    """Every kind of parameter, with its store's name and types."""

    def fn(
        number: int,
        total: sf.Value[Total],
        seen: sf.Map[int, str],
        whole: sf.Store[bytes, float],
        context: sf.Context,
        typed: sf.Context[str],
    ) -> int:
        return number

    found = read(fn)
    assert not found.mistakes
    kinds = [each.kind for each in found.signature.parameters]
    assert kinds == ["value", "map", "store", "context", "context"]
    assert [(each.name, each.key, each.value) for each in found.stores.values()] == [
        ("stage-total", str, Total),
        ("stage-seen", tuple[str, int], str),
        ("stage-whole", bytes, float),
    ]


@pytest.mark.parametrize(
    ("held", "start"),
    [
        (int, 0),
        (float, 0.0),
        (str, ""),
        (int | None, None),
        (list[int], []),
        (dict[str, int], {}),
        (Total, Total()),
    ],
    ids=str,
)
def test_start_of_a_type(held: Any, start: object) -> None:
    """A new key starts with None if the type allows it, else with an empty value."""

    def fn(number: int, total: Any) -> None:
        """A function."""

    fn.__annotations__["total"] = sf.Value[held]
    made = read(fn).parameters["total"].start
    assert made is not None
    assert made() == start


def test_start_of_a_constant() -> None:
    """A default is the start; a mutable one is copied for each key."""

    def fn(
        number: int, level: sf.Value[float] = START, last: sf.Value[list[int]] = LIST_START
    ) -> None:
        """A function."""

    parameters = read(fn).parameters
    level, last = parameters["level"].start, parameters["last"].start
    assert level is not None
    assert last is not None
    assert level() == 20.0
    assert last() == [1, 2]
    assert last() is not last()
    LIST_START.value.append(3)
    assert last() == [1, 2]
    LIST_START.value.pop()


def test_no_start() -> None:
    """A type that cannot be started needs a constant."""

    def fn(number: int, last: sf.Value[Reading]) -> None:
        """A function."""

    check(fn, "'last' of 'stage' has no value to start from", "temperature", "START = sf.Value(")


def test_start_of_another_type() -> None:
    """A start that is no value of the type."""

    def fn(number: int, level: sf.Value[str] = START) -> None:  # type: ignore[assignment]  # the mistake  # pyright: ignore[reportArgumentType]
        """A function."""

    check(fn, "'level' of 'stage' holds str", "the start 20.0", "start from a str")


def test_default_that_is_no_value() -> None:
    """A default that is not wrapped."""

    def fn(number: int, level: sf.Value[float] = 3.0) -> None:  # type: ignore[assignment]  # the mistake  # pyright: ignore[reportArgumentType]
        """A function."""

    check(fn, "default of parameter 'level' of 'stage' is no sf.Value", "3.0", "module constant")


def test_default_of_a_map() -> None:
    """A map has no default."""

    def fn(number: int, seen: sf.Map[str, int] = sf.Map()) -> None:  # noqa: B008  # the mistake
        """A function."""

    check(fn, "'seen' of 'stage' has a default", "Map({})", "leave it out")


def test_generators() -> None:
    """A generator answers what it yields, however that is written."""

    def iterator(number: int) -> Iterator[str]:
        yield "a"

    def generator(number: int) -> Generator[str, None, None]:
        yield "a"

    def list_(number: int) -> list[str]:
        return ["a"]

    found = [read(fn).signature for fn in (iterator, generator, list_)]
    assert [(each.generator, each.answers) for each in found] == [
        (True, str),
        (True, str),
        (False, list[str]),
    ]


def test_answers() -> None:
    """None is no answer, records of topics are apart, no annotation leaves all open."""

    def optional(number: int) -> str | None:
        return None

    def records(number: int) -> Iterator[sf.Outgoing[str, int]]:
        yield sf.Outgoing("topic", "a", 1)

    def mixed(number: int) -> sf.Outgoing[str, int] | str | None:
        return None

    def nothing(number: int) -> None:
        """A function."""

    def open_(number: int):  # type: ignore[no-untyped-def]  # what it answers is open
        return number

    fns = (optional, records, mixed, nothing, open_)
    found = [(read(fn).signature.answers, read(fn).signature.outgoing) for fn in fns]
    assert found == [
        (str, False),
        (UNKNOWN, True),
        (str, True),
        (UNKNOWN, False),
        (UNKNOWN, True),
    ]


def test_null_values() -> None:
    """Tombstones go only to a function that takes None, or does not say what it takes."""

    def plain(number: int) -> None:
        """A function."""

    def optional(number: int | None) -> None:
        """A function."""

    def anything(number: Any) -> None:
        """A function."""

    def silent(number):  # type: ignore[no-untyped-def]  # what it takes is open  # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]
        """A function."""

    fns: list[Any] = [plain, optional, anything, silent]
    assert [read(fn).signature.null_values for fn in fns] == [False, True, True, True]


def test_annotations_as_text() -> None:
    """Annotations that are text are resolved, with names of the place where they stand."""

    class Local(msgspec.Struct, frozen=True):
        """A type that only this test knows."""

        count: int = 0

    def fn(number: "int", total: "sf.Value[Local]", seen: "sf.Map[Airport, int]") -> "str":
        return ""

    found = read(fn, Local=Local)
    assert not found.mistakes
    assert [store.value for store in found.stores.values()] == [Local, int]
    assert found.signature.answers is str


def test_annotation_of_the_type_checker_only() -> None:
    """A name that does not exist at run time."""

    def fn(number: int, total: "sf.Value[Fraction]") -> None:
        """A function."""

    check(fn, "annotation of parameter 'total'", "'Fraction' is not defined", "import the name")


def test_value_of_the_type_checker_only() -> None:
    """The value's type that does not exist at run time."""

    def fn(number: "Fraction") -> None:
        """A function."""

    check(fn, "annotation of parameter 'number'", "'Fraction' is not defined", "import the name")


def test_wrong_value() -> None:
    """A function of another value than the stream has."""

    def fn(text: str) -> None:
        """A function."""

    check(fn, "function 'stage' takes str", "a stream of int", "annotate 'text' as int")


def test_no_parameter() -> None:
    """A function that takes no value."""

    def fn() -> None:
        """A function."""

    check(fn, "function 'stage' takes no value", "no parameter", "def stage(value)")


def test_no_value() -> None:
    """A function that asks for state, and takes no value."""

    def fn(total: sf.Value[int]) -> None:
        """A function."""

    check(fn, "first parameter of 'stage' is the record's value", "total: Value[int]", "before it")


def test_stars() -> None:
    """A function that takes what comes."""

    def fn(number: int, *more: int) -> None:
        """A function."""

    check(fn, "'more' of 'stage' cannot be passed by position", "*more", "without stars")


def test_other_annotation() -> None:
    """A parameter of a type that nobody injects."""

    def fn(number: int, factor: float) -> None:
        """A function."""

    check(fn, "'factor' of 'stage' asks for nothing", "float", "sf.Value[T], sf.Map[K, V]")


def test_no_annotation() -> None:
    """A parameter that does not say what it asks for."""

    def fn(number: int, factor=3) -> None:  # type: ignore[no-untyped-def]  # the mistake  # pyright: ignore[reportMissingParameterType]
        """A function."""

    check(fn, "'factor' of 'stage' asks for nothing", "no annotation", "annotate it as")


def test_no_arguments() -> None:
    """A store that does not say of what."""

    def fn(number: int, total: sf.Value) -> None:  # type: ignore[type-arg]  # the mistake  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
        """A function."""

    check(fn, "'total' of 'stage' does not say its types", "sf.Value", "sf.Value[T]")


def test_async() -> None:
    """Async functions, and async generators."""

    async def coroutine(number: int) -> int:
        return number

    async def generator(number: int) -> AsyncIterator[int]:
        yield number

    for fn in (coroutine, generator):
        check(fn, "function 'stage' is async", "async def", "not supported yet")


def test_key_of_a_context() -> None:
    """A context with another key than the stream."""

    def fn(number: int, context: sf.Context[int]) -> None:
        """A function."""

    check(fn, "expects keys of type int", "keys of type str", "sf.Context[str]")


def test_unknown_key() -> None:
    """State under a key of which nobody says the type."""

    def fn(number: int, total: sf.Value[int], context: sf.Context[str]) -> None:
        """A function."""

    check(fn, "'total' of 'stage' needs to know the type of the key", "nobody", "key=", key=UNKNOWN)


def test_state_that_cannot_be_stored() -> None:
    """A type that has no bytes."""

    def fn(number: int, total: sf.Map[str, Read]) -> None:
        """A function."""

    check(fn, "'total' of 'stage' cannot be stored", "Read", "serdes can carry")


def test_key_that_cannot_be_sorted() -> None:
    """A key that has no order."""

    def fn(number: int, total: sf.Store[dict[str, int], int]) -> None:
        """A function."""

    check(fn, "'total' of 'stage' cannot be stored", "dict[str, int]", "serdes can carry")
