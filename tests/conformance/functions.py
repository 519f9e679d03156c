"""The functions that cases name: of a value or key, predicates, reducers.

They stand in the recorded file's description; here they are as plain Python. Invariant: none knows
streamfn, and each takes a null (None) wherever Kafka Streams gives it one.
"""

import re
from collections.abc import Callable
from typing import Any

Text = str | None
Mapper = Callable[[Any], Any]
Predicate = Callable[[Any, Any], bool]
Reducer = Callable[[Any, Any], Any]
"""Of texts and nulls; streams of texts do not say that there may be nulls."""


def number(value: Text) -> int | None:
    """The value as a signed decimal integer, or None."""
    return int(value) if value is not None and re.fullmatch("[+-]?[0-9]+", value) else None


def shown(value: Text) -> str:
    """A value in a text; None is ``null``."""
    return "null" if value is None else value


def _inc(value: Text) -> Text:
    found = number(value)
    return value if found is None else str(found + 1)


MAPPERS: dict[str, Mapper] = {
    "upper": lambda value: None if value is None else value.upper(),
    "len": lambda value: None if value is None else str(len(value)),
    "first": lambda value: value and value[:1],
    "rest": lambda value: value and value[1:],
    "inc": _inc,
    "identity": lambda value: value,
}


def mapper(name: str) -> Mapper:
    """The function of a value or key that a case names."""
    word, _, argument = name.partition(":")
    if word == "prefix":
        return lambda value: None if value is None else argument + value
    if word == "null_if":
        return lambda value: None if value == argument else value
    if word == "mod":
        return _modulo(int(argument))
    return MAPPERS[name]


def _modulo(divisor: int) -> Mapper:
    def modulo(value: Text) -> Text:
        found = number(value)
        return value if found is None else f"m{found % divisor}"

    return modulo


def of_record(name: str) -> Callable[[Any, Any], Any]:
    """A function of key and value: ``key.f`` is of the key, else it is of the value."""
    apply = mapper(name.removeprefix("key."))
    if name.startswith("key."):
        return lambda key, value: apply(key)
    return lambda key, value: apply(value)


def predicate(name: str) -> Predicate:
    """The predicate of key and value that a case names."""
    word, _, argument = name.partition(":")
    if word == "gt":
        return lambda key, value: (found := number(value)) is not None and found > int(argument)
    if word == "key_is":
        return lambda key, value: key == argument
    return PREDICATES[name]


PREDICATES: dict[str, Predicate] = {
    "even": lambda key, value: (found := number(value)) is not None and found % 2 == 0,
    "not_null": lambda key, value: value is not None,
    "true": lambda key, value: True,
}


def _sum(aggregate: Text, value: Text) -> str:
    return str((number(aggregate) or 0) + (number(value) or 0))


def _max(aggregate: Text, value: Text) -> Text:
    held, given = number(aggregate), number(value)
    if held is None:
        return value
    return aggregate if given is None or given <= held else value


def _null_on_zero(aggregate: Text, value: Text) -> Text:
    total = _sum(aggregate, value)
    return None if total == "0" else total


REDUCERS: dict[str, Reducer] = {
    "sum": _sum,
    "sub": lambda aggregate, value: str((number(aggregate) or 0) - (number(value) or 0)),
    "max": _max,
    "concat": lambda aggregate, value: f"{shown(aggregate)},{shown(value)}",
    "uncat": lambda aggregate, value: f"{shown(aggregate)}-{shown(value)}",
    "last": lambda aggregate, value: value,
    "null_on_zero": _null_on_zero,
    "count": lambda aggregate, value: str(int(shown(aggregate)) + 1),
    "uncount": lambda aggregate, value: str(int(shown(aggregate)) - 1),
}


def joined(left: Text, right: Text) -> str:
    """What every join of a case answers."""
    return f"{shown(left)}+{shown(right)}"
