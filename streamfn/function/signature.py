"""Reads a user's function: what it is called with, what it answers, and what is wrong with it.

The first parameter is the record's value; every further one is asked for by its annotation. What is
read here becomes the fields of ``graph.topology.Function``. Invariant: the engine may call
``by_position(fn, parameters)(value, *injected)``.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from streamfn.function.annotations import (
    Unresolved,
    allows_none,
    fits,
    members,
    mentions,
    plain_type,
    resolved_hints,
    said,
    underlying,
    union,
    without_none,
)
from streamfn.function.parameters import (
    EACH_KIND,
    Stage,
    asked_for,
    check_store_types,
    read_parameter,
    report_unresolved,
    seen_key,
)
from streamfn.function.state import Context, Outgoing, Store
from streamfn.graph.topology import UNKNOWN, Parameter, StoreSpec


@dataclass(frozen=True, slots=True)
class Signature:
    """What was read: the injected parameters and the nature of the answers."""

    parameters: tuple[Parameter, ...]
    generator: bool
    null_values: bool
    outgoing: bool
    answers: object
    """The type of plain answers; unknown if nobody says or there are none."""


def read_signature(fn: Callable[..., Any], names: Mapping[str, object], stage: Stage) -> Signature:
    """Read a function; ``names`` holds the local names of the place where it is defined."""
    hints = resolved_hints(fn, names)
    listed = _listed(fn, hints, stage)
    if not listed:
        stage.report(
            f"function {stage.name!r} takes no value",
            "no parameter",
            f"give it the record's value first: def {stage.name}(value)",
        )
    first, injected = listed[:1], listed[1:]
    takes = hints.get(first[0].name, UNKNOWN) if first else UNKNOWN
    if first:
        _check_value(first[0], takes, stage)
    generator, answers, outgoing = read_answers(fn, hints, stage)
    read = [read_parameter(parameter, hints, stage) for parameter in injected]
    return Signature(
        parameters=tuple(filter(None, read)),
        generator=generator,
        null_values=allows_none(takes),
        outgoing=outgoing,
        answers=answers,
    )


def read_timer(
    fn: Callable[..., Any],
    names: Mapping[str, object],
    stage: Stage,
    parameters: tuple[Parameter, ...],
) -> Signature:
    """Read a timer of a function: a Context, and its stores by the names of its ``parameters``."""
    hints = resolved_hints(fn, names)
    generator, answers, outgoing = read_answers(fn, hints, stage)
    stores = {parameter.name: parameter.store for parameter in parameters if parameter.store}
    read = [_timer_parameter(p, hints, stores, stage) for p in _listed(fn, hints, stage)]
    return Signature(tuple(filter(None, read)), generator, False, outgoing, answers)


def by_position(fn: Callable[..., Any], parameters: tuple[Parameter, ...]) -> Callable[..., Any]:
    """What gives ``fn`` its keyword-only parameters by name; ``fn`` itself if it has none."""
    if not parameters:
        return fn  # of what has no signature, too: that was reported
    kinds = {name: declared.kind for name, declared in inspect.signature(fn).parameters.items()}
    names = [p.name for p in parameters if kinds[p.name] is inspect.Parameter.KEYWORD_ONLY]
    if not names:
        return fn

    def call(*arguments: Any) -> Any:
        first = len(arguments) - len(names)  # Python has the keyword-only ones stand last
        return fn(*arguments[:first], **dict(zip(names, arguments[first:], strict=True)))

    return call


def _listed(
    fn: Callable[..., Any], hints: Mapping[str, object], stage: Stage
) -> list[inspect.Parameter]:
    """The parameters that are left to be given, one by one; report stars."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        stage.report(
            f"function {stage.name!r} has no signature to read", repr(fn), "write a def around it"
        )
        return []
    stars = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for parameter in parameters:
        if parameter.kind in stars:
            stage.report(
                f"parameter {parameter.name!r} of {stage.name!r} cannot be passed by position",
                repr(str(parameter)),
                "write it as a plain parameter, without stars",
            )
    bound: Mapping[str, object] = fn.keywords if isinstance(fn, functools.partial) else {}
    return [
        parameter
        for parameter in parameters
        if parameter.kind not in stars
        and (parameter.name not in bound or _is_injected(hints.get(parameter.name)))
    ]


def _is_injected(annotation: object) -> bool:
    """True of what streamfn gives: what ``partial`` binds it to is its default."""
    plain = plain_type(annotation)
    return (get_origin(plain) or plain) in EACH_KIND


def _check_value(parameter: inspect.Parameter, takes: object, stage: Stage) -> None:
    if _is_injected(takes):
        stage.report(
            f"the first parameter of {stage.name!r} is the record's value",
            f"{parameter.name}: {said(takes)}",
            "put a parameter for the value before it",
        )
    elif parameter.kind is parameter.KEYWORD_ONLY:
        stage.report(
            f"the record's value is given by position to {stage.name!r}",
            f"{parameter.name!r}, a keyword-only parameter",
            "write it before the *",
        )
    elif isinstance(takes, Unresolved):
        report_unresolved(parameter, takes, stage)
    elif not fits(stage.value, takes):
        stage.report(
            f"function {stage.name!r} takes {said(takes)}",
            f"a stream of {said(stage.value)}",
            f"annotate {parameter.name!r} as {said(stage.value)}, or map the stream before it",
        )


def read_answers(
    fn: Callable[..., Any], hints: Mapping[str, object], stage: Stage
) -> tuple[bool, object, bool]:
    """Return whether it is a generator, the type of its plain answers, and if others may come."""
    plain = underlying(fn)
    if inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain):
        stage.report(
            f"function {stage.name!r} is async",
            "async def",
            "async functions are not supported yet; make it a plain function",
        )
    generator = inspect.isgeneratorfunction(plain)
    answer = hints.get("return", UNKNOWN)
    if isinstance(answer, Unresolved):
        stage.report(
            f"the return annotation of {stage.name!r} cannot be read",
            f"{answer.text!r}: {answer.reason}",
            "import the name at run time too",
        )
        return generator, UNKNOWN, True
    outgoing = plain_type(answer) is UNKNOWN or mentions(answer, Outgoing)
    yielded = get_args(answer)
    if generator:
        answer = yielded[0] if yielded else UNKNOWN
    return generator, _plain_answers(answer), outgoing


def _plain_answers(answer: object) -> object:
    kept = [part for part in members(answer) if get_origin(part) is not Outgoing]
    kept = [part for part in kept if part is not Outgoing and part is not type(None)]
    if UNKNOWN in kept:
        return UNKNOWN
    whole = len(kept) == len(members(answer))
    return without_none(answer) if whole else union(kept)


def _timer_parameter(
    parameter: inspect.Parameter,
    hints: Mapping[str, object],
    stores: Mapping[str, StoreSpec],
    stage: Stage,
) -> Parameter | None:
    asked = asked_for(parameter, hints, stage)
    if asked is None:
        return None
    kind, arguments = asked
    if kind is Context:
        return Parameter(parameter.name, "context")
    spec = stores.get(parameter.name)
    whole = f"sf.Store[{said(seen_key(spec))}, {said(spec.value)}]" if spec else "sf.Store[K, V]"
    if spec is None or kind is not Store:
        wrong = "is no store of its function" if spec is None else "asks for the state of one key"
        stage.report(
            f"parameter {parameter.name!r} of timer {stage.name!r} {wrong}",
            said(hints[parameter.name]),
            f"a timer has no key: ask for sf.Context or, by its name, {_listing(stores, whole)}",
        )
        return None
    what = f"parameter {parameter.name!r} of timer {stage.name!r}"
    check_store_types(what, spec, arguments, stage)
    return Parameter(parameter.name, "store", spec)


def _listing(stores: Mapping[str, StoreSpec], whole: str) -> str:
    names = ", ".join(repr(name) for name in stores) or "it has none"
    return f"a whole store ({whole}) of the function: {names}"
