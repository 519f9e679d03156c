"""The names of nodes, stores and internal topics: derived from the text, never a position.

A function's name is its own; a lambda's is what it touches, read from its instructions in order:
the names and constants (``lambda flight: flight.carrier`` is ``carrier``). Invariant: the same
source text gives the same name on every supported Python version, since a change of key names a
topic and a store names a changelog.
"""

import dis
import functools
import hashlib
import inspect
import operator
import re
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final, cast

NAME_LENGTH_MAX: Final = 200
TOPIC_LENGTH_MAX: Final = 249
_DERIVED_LENGTH_MAX: Final = 120
_VALID: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{NAME_LENGTH_MAX}}}")
_HASH_DIGITS: Final = 6
_COMPREHENSIONS: Final = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}


def is_valid(name: object) -> bool:
    """Tell whether a name can be part of a Kafka topic's name and of a folder's."""
    return isinstance(name, str) and bool(_VALID.fullmatch(name)) and name not in {".", ".."}


def touched(fn: Callable[..., Any]) -> str:
    """Name a function by itself, and a lambda by what it touches.

    >>> touched(lambda flight: flight.carrier)
    'carrier'
    >>> touched(lambda flight: (flight["origin"], flight.day))
    'origin-day'
    >>> touched(str.lower)
    'lower'
    """
    if isinstance(fn, functools.partial):
        return touched(fn.func)
    if isinstance(fn, (operator.attrgetter, operator.itemgetter, operator.methodcaller)):
        words = [str(part) for part in fn.__reduce__()[1] if isinstance(part, (str, int))]
        return _joined(words)
    name = getattr(fn, "__name__", type(fn).__name__)
    code = getattr(inspect.unwrap(fn), "__code__", None)
    if name != "<lambda>" or not isinstance(code, CodeType):
        return _joined([name])
    return _joined([str(word) for word in _words(code)])


def _words(code: CodeType) -> Iterator[object]:
    """Yield names and plain constants in the order in which they are used, inner functions too.

    Python 3.12 puts comprehensions in line, behind what they run over; so they are read here.
    """
    comprehensions: list[CodeType] = []
    inner: list[CodeType] = []
    for instruction in dis.get_instructions(code):
        value = instruction.argval
        if isinstance(value, slice):  # a constant from Python 3.14 on
            whole = cast("slice[object, object, object]", value)
            bounds = (whole.start, whole.stop, whole.step)
            yield from (bound for bound in bounds if type(bound) in (str, int, float))
        elif isinstance(value, CodeType):
            (comprehensions if value.co_name in _COMPREHENSIONS else inner).append(value)
        elif instruction.opname == "GET_ITER" and comprehensions:
            yield from _words(comprehensions.pop())
        elif (
            _names_something(instruction)
            and isinstance(value, (str, int, float))
            and not isinstance(value, bool)
        ):
            yield value
    for function in (*comprehensions, *inner):
        yield from _words(function)


def _names_something(instruction: dis.Instruction) -> bool:
    operation = instruction.opcode
    if instruction.opname in {"MAKE_FUNCTION", "STORE_FAST", "MAKE_CELL", "COPY_FREE_VARS"}:
        return False
    return (
        operation in dis.hasname
        or operation in dis.hasconst
        or instruction.opname in {"LOAD_SMALL_INT", "LOAD_DEREF"}
    )


def _joined(words: list[str]) -> str:
    """Join words to a name; what touches nothing answers the value itself."""
    plain = [re.sub(r"[^A-Za-z0-9._]+", "_", word).strip("_.") for word in words]
    kept = [word for word in dict.fromkeys(plain) if word and not word.startswith("_lambda_")]
    return "-".join(kept) or "value"


def shortened(name: str) -> str:
    """Keep a derived name readable: a long one ends in a hash of the whole."""
    if len(name) <= _DERIVED_LENGTH_MAX:
        return name
    return told_apart(name[: _DERIVED_LENGTH_MAX - _HASH_DIGITS - 1], name)


def told_apart(name: str, salt: str) -> str:
    """Add a short hash of ``salt``: how stateless steps of one name are told apart."""
    return f"{name}-{hashlib.sha256(salt.encode()).hexdigest()[:_HASH_DIGITS]}"


def fingerprint(fn: Callable[..., Any]) -> str:
    """Describe a function by its code, for telling apart what has the same name."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    if not isinstance(code, CodeType):
        return touched(fn)
    return f"{code.co_code.hex()}{[word for word in _words(code)]}"


def changelog_topic(application: str, store: str) -> str:
    """Name a store's changelog as Kafka Streams does."""
    return f"{application}-{store}-changelog"


def repartition_topic(application: str, node: str) -> str:
    """Name a repartition topic as Kafka Streams does; the node's name may end in it already."""
    return f"{application}-{node.removesuffix('-repartition')}-repartition"
