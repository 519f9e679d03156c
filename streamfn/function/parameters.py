"""Reads one injected parameter of a function: its store, its start, the table it is bound to.

A parameter is asked for by its annotation; what cannot be given is reported with the cure.
Invariant: a ``Parameter`` comes out only if the engine can provide it; its store is named
``<stage>-<parameter>``, or is the table's own.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import GenericAlias
from typing import Any, TypeAlias, TypeVar, cast, get_args, get_origin

from typing_extensions import TypeIs

from streamfn.errors import SerdeError
from streamfn.function.annotations import Unresolved, fits, plain_type, said
from streamfn.function.state import Context, Lookup, Map, Store, Value
from streamfn.graph.topology import UNKNOWN, Parameter, ParameterKind, StoreSpec
from streamfn.serde import start_from, start_of, state_serde
from streamfn.state.keys import key_codec
from streamfn.windowed import Windowed

K = TypeVar("K")
V = TypeVar("V")

Report: TypeAlias = Callable[[str, str, str], None]
"""Takes what is wrong, what was got, and the cure; it knows the place."""

EACH_KIND: tuple[type, ...] = (Value, Map, Store, Lookup, Context)
_ARGUMENTS: dict[type, tuple[str, ...]] = {
    Value: ("T",),
    Map: ("K", "V"),
    Store: ("K", "V"),
    Lookup: ("K", "V"),
}
_INJECTED = "sf.Value[T], sf.Map[K, V], sf.Store[K, V], sf.Lookup[K, V] or sf.Context"


class SharedStore(Store[K, V]):
    """A store of the program itself: what a Lookup or Store parameter may have as default."""

    __slots__ = ("name", "owner", "spec")

    name: str
    """The name of its stage, and of its store if it keeps one."""
    spec: StoreSpec | None
    """None of a table that keeps nothing and is worked out from others."""
    owner: object
    """Whose it is: a function can only read a store of its own app."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a signature is read against: its stage's name and place, and the records it will get."""

    name: str
    where: str
    key: object
    value: object
    owner: object
    report: Report


def read_parameter(
    parameter: inspect.Parameter, hints: Mapping[str, object], stage: Stage
) -> Parameter | None:
    """Read one parameter; None if it was a mistake, which is reported."""
    asked = asked_for(parameter, hints, stage)
    if asked is None:
        return None
    kind, arguments = asked
    if kind is Context:
        return _context(parameter, arguments, stage)
    read = {Value: _value, Map: _map, Store: _store, Lookup: _lookup}[kind]
    return read(parameter, arguments, stage)


def asked_for(
    parameter: inspect.Parameter, hints: Mapping[str, object], stage: Stage
) -> tuple[type, tuple[Any, ...]] | None:
    """Return what a parameter asks for, with its type arguments; report what is none of ours."""
    annotation = hints.get(parameter.name, UNKNOWN)
    if isinstance(annotation, Unresolved):
        report_unresolved(parameter, annotation, stage)
        return None
    plain = plain_type(annotation)
    kind, arguments = cast("type", get_origin(plain) or plain), get_args(plain)
    if kind not in EACH_KIND:
        stage.report(
            f"parameter {parameter.name!r} of {stage.name!r} asks for nothing streamfn can give",
            said(annotation) if parameter.name in hints else "no annotation",
            f"annotate it as {_INJECTED}; other things belong in a closure or a constant",
        )
        return None
    wanted = _ARGUMENTS.get(kind, ())
    if len(arguments) != len(wanted) and kind is not Context:
        stage.report(
            f"parameter {parameter.name!r} of {stage.name!r} does not say its types",
            f"sf.{kind.__name__}",
            f"annotate it as sf.{kind.__name__}[{', '.join(wanted)}]",
        )
        return None
    return kind, arguments


def report_unresolved(parameter: inspect.Parameter, got: Unresolved, stage: Stage) -> None:
    """Report an annotation that names something which cannot be found."""
    stage.report(
        f"the annotation of parameter {parameter.name!r} of {stage.name!r} cannot be read",
        f"{got.text!r}: {got.reason}",
        "import the name at run time too",
    )


def _context(
    parameter: inspect.Parameter, arguments: tuple[Any, ...], stage: Stage
) -> Parameter | None:
    key = arguments[0] if arguments else UNKNOWN
    if not fits(stage.key, key):
        stage.report(
            f"parameter {parameter.name!r} of {stage.name!r} expects keys of type {said(key)}",
            f"a stream with keys of type {said(stage.key)}",
            f"annotate it as sf.Context[{said(stage.key)}]",
        )
    _refuse_default(parameter, stage)
    return Parameter(parameter.name, "context")


def _refuse_default(parameter: inspect.Parameter, stage: Stage) -> None:
    if parameter.default is not inspect.Parameter.empty:
        stage.report(
            f"parameter {parameter.name!r} of {stage.name!r} has a default",
            repr(parameter.default),
            "leave it out: streamfn always gives this parameter",
        )


def _store_name(parameter: inspect.Parameter, stage: Stage) -> str:
    return f"{stage.name}-{parameter.name}"


def _has_key(parameter: inspect.Parameter, stage: Stage) -> bool:
    if plain_type(stage.key) is not UNKNOWN:
        return True
    stage.report(
        f"parameter {parameter.name!r} of {stage.name!r} needs to know the type of the key",
        "a stream whose key type nobody says",
        "say key= at the step that changes the key",
    )
    return False


def _storable(parameter: inspect.Parameter, stage: Stage, key: object, held: object) -> bool:
    """Report types that no store can have as key or value."""
    try:
        key_codec(key)
        state_serde(held)
    except SerdeError as error:
        stage.report(
            f"parameter {parameter.name!r} of {stage.name!r} cannot be stored",
            str(error),
            "use a type that serdes can carry",
        )
        return False
    return True


def _value(
    parameter: inspect.Parameter, arguments: tuple[Any, ...], stage: Stage
) -> Parameter | None:
    key, (held,) = plain_type(stage.key), arguments
    if not (
        _has_key(parameter, stage) and _storable(parameter, stage, plain_type(stage.key), held)
    ):
        return None
    start = _start(parameter, held, stage)
    name = _store_name(parameter, stage)
    spec = StoreSpec(name, "value", key, held, stage.where)
    return Parameter(parameter.name, "value", spec, start)


def _start(parameter: inspect.Parameter, held: object, stage: Stage) -> Callable[[], object] | None:
    """How a new key's value is made: a copy of the default, or the type's own start."""
    default = parameter.default
    asked = f"parameter {parameter.name!r} of {stage.name!r}"
    if default is inspect.Parameter.empty:
        try:
            return start_of(held)
        except SerdeError as error:
            cure = "give a start: START = sf.Value(...) and use it as the parameter's default"
            stage.report(f"{asked} has no value to start from", str(error), cure)
            return None
    if not isinstance(default, Value):
        cure = "make the start a module constant: START = sf.Value(...)"
        stage.report(f"the default of {asked} is no sf.Value", repr(default), cure)
        return None
    first = cast("Value[object]", default).value
    if not fits(type(first), held):
        cure = f"start from a {said(held)}"
        stage.report(f"{asked} holds {said(held)}", f"the start {first!r}", cure)
        return None
    try:
        return start_from(held, first)
    except SerdeError as error:
        cure = "make the start of what its store can hold: START = sf.Value(...)"
        stage.report(f"{asked} cannot start from its default", str(error), cure)
        return None


def _map(
    parameter: inspect.Parameter, arguments: tuple[Any, ...], stage: Stage
) -> Parameter | None:
    key, held = arguments
    _refuse_default(parameter, stage)
    whole = GenericAlias(tuple, (plain_type(stage.key), key))
    if not (_has_key(parameter, stage) and _storable(parameter, stage, whole, held)):
        return None
    spec = StoreSpec(_store_name(parameter, stage), "map", whole, held, stage.where)
    return Parameter(parameter.name, "map", spec)


def _store(
    parameter: inspect.Parameter, arguments: tuple[Any, ...], stage: Stage
) -> Parameter | None:
    key, held = arguments
    if parameter.default is not inspect.Parameter.empty:
        return _shared(parameter, "store", arguments, stage)
    if not _storable(parameter, stage, key, held):
        return None
    spec = StoreSpec(_store_name(parameter, stage), "store", key, held, stage.where)
    return Parameter(parameter.name, "store", spec)


def _lookup(
    parameter: inspect.Parameter, arguments: tuple[Any, ...], stage: Stage
) -> Parameter | None:
    if parameter.default is inspect.Parameter.empty:
        stage.report(
            f"parameter {parameter.name!r} of {stage.name!r} does not say which table it reads",
            "no default",
            f"bind one: {parameter.name}: sf.Lookup[K, V] = app.table(topic)",
        )
        return None
    return _shared(parameter, "lookup", arguments, stage)


def _is_shared(default: object) -> TypeIs[SharedStore[Any, Any]]:
    return isinstance(default, SharedStore)


def _shared(
    parameter: inspect.Parameter, kind: ParameterKind, arguments: tuple[Any, ...], stage: Stage
) -> Parameter | None:
    """Bind a table of the same app, whose types must be the annotated ones."""
    asked = f"parameter {parameter.name!r} of {stage.name!r}"
    table: object = parameter.default
    if not _is_shared(table):
        cure = "bind a table: app.table(topic)"
        stage.report(f"the default of {asked} is no table", repr(parameter.default), cure)
        return None
    if table.owner is not stage.owner:
        cure = "make the table with the same app"
        stage.report(f"{asked} reads a table of another app", repr(table.name), cure)
        return None
    spec = table.spec
    if spec is None:
        cure = "say store= where it is made (suppress has none), or bind the table before it"
        stage.report(f"{asked} reads a table that keeps nothing", repr(table.name), cure)
        return None
    if kind == "store" and spec.kind == "global":
        cure = "annotate it with sf.Lookup, and send what is to change to the table's topic"
        stage.report(f"{asked} would write to a global table", repr(spec.name), cure)
        return None
    check_store_types(asked, spec, arguments, stage)
    return Parameter(parameter.name, kind, spec)


def check_store_types(
    asked: str, spec: StoreSpec, arguments: tuple[Any, ...], stage: Stage
) -> None:
    """Report an annotation whose key or value evidently is not the store's."""
    key, held = arguments
    seen = seen_key(spec)
    for what, wanted, given in (("keys", key, seen), ("values", held, spec.value)):
        if not fits(given, wanted):
            stage.report(
                f"{asked} expects {what} of type {said(wanted)}",
                f"store {spec.name!r} with {what} of type {said(given)}",
                f"annotate it with [{said(seen)}, {said(spec.value)}]",
            )


def seen_key(spec: StoreSpec) -> object:
    """The type of a store's keys as people see them: of windows, with the window."""
    plain: Any = spec.key
    return plain if spec.window is None or plain is UNKNOWN else Windowed[plain]
