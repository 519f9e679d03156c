"""Aggregates in a generated chain: the text of a keyed count, sum or reduce.

A record comes in with ``key`` and ``value``; the new entry of its key is worked out in local
variables, written with the other effects, and its value goes on. Invariant: the answers are those
of ``engine.operators.aggregates``, which ``tests/unit/test_compilers.py`` compares.
"""

from typing import TYPE_CHECKING

from streamfn.engine.keys import KeyForm, to_store
from streamfn.engine.operators.closing import Closing, dropping
from streamfn.graph.operators import Aggregate
from streamfn.graph.stores import ENTRY, TIME
from streamfn.serde import is_immutable
from streamfn.serde.operators import windowed_serde
from streamfn.state.levels import MISSING
from streamfn.windowed import SPAN, Windowed

if TYPE_CHECKING:
    from streamfn.engine.generate import Chain


def not_generated(node: Aggregate) -> str:
    """Why an aggregate cannot be in a generated chain; "" if it can."""
    if len(node.parents) > 1:
        return f"{node.name!r} has several inputs"
    window = node.window
    if window is not None:
        if window.kind != "tumbling" or window.idle_close_ms is not None:
            return f"{node.name!r} has {window.kind} windows"
        if node.emit == "close":
            return f"{node.name!r} answers when windows close"
    if not is_immutable(node.store.value):
        return f"{node.name!r} keeps values that change in place"
    return ""


def aggregate(chain: "Chain", node: Aggregate) -> None:
    """Add an aggregate a key: old entry, new entry, its change with the other effects."""
    drop = chain.name("drop", chain.scope.metrics.drop)
    chain.leave_if(f"{chain.key} is None", f"{drop}('null key', {node.name!r})")
    if node.window is None:
        chain.leave_if("value is None", f"{drop}('null value', {node.name!r})")
    convert = to_store(chain.form, node.store.key)
    key = chain.key_as(f"store {node.store.key!r}", convert)
    if node.window is None:
        _settle(chain, node, key)
    else:
        _tumbling(chain, node, key)


def _tumbling(chain: "Chain", node: Aggregate, key: str) -> None:
    """The window of the record's time: ``operators.windows.FixedAggregate._tumbling`` as text."""
    window = node.window
    assert window is not None
    store = chain.compiler.timed(node.store)
    closing = Closing(store, window, 1, ENTRY, drop=dropping(store))
    size, at, now = window.size_ms, chain.time, chain.fresh("now")
    register, start = chain.name("register", closing.times[0]), chain.fresh("start")
    missing, drop = chain.name("MISSING", MISSING), chain.name("drop", chain.scope.metrics.drop)
    chain.before.append(f"{now} = {register}.get()")
    chain.after.append(f"{register}.advance({now})")
    chain.line(f"{start} = {at} - {at} % {size}")
    late = f"{start} + {size + window.grace_ms} <= {now}"
    chain.leave_if(late, f"{drop}('late record', {node.name!r})")
    row, prefix, last = chain.fresh("row"), chain.fresh("prefix"), chain.fresh("last")
    chain.before += [f"{last} = -1", f"{prefix} = b''"]
    pack = chain.name("pack", TIME.pack)
    chain.line(
        f"if {start} != {last}: {prefix} = {ENTRY!r} + {pack}({start}); {last} = {start}",
        f"{row} = {prefix} + {key}",
    )
    chain.effects.append(f"if {at} > {now}: {now} = {at}")
    entry = _settle(chain, node, row)
    expire = chain.name("expire", closing.expire)
    chain.effects.append(f"if {entry} is {missing}: {expire}({now}); undo.clear()")
    _windowed_key(chain, node, start, size)


def _windowed_key(chain: "Chain", node: Aggregate, start: str, size: int) -> None:
    """From here on the key is that of the window: as bytes, if the record's key is bytes."""
    inner, key = chain.form.serde, chain.key
    if inner is None:
        windowed = chain.name("Windowed", Windowed)
        chain.line(f"{chain.new_key()} = {windowed}({key}, {start}, {start} + {size})")
    else:
        span = chain.name("span", SPAN.pack)
        chain.line(f"{chain.new_key()} = {key} + {span}({start} + {size}, {start})")
        chain.form = KeyForm(windowed_serde(node.key, inner))


def _settle(chain: "Chain", node: Aggregate, key: str) -> str:
    """Replace the entry under a store's key; its value and time go on. Return the old entry."""
    levels = chain.scope.levels[node.store.name]
    cache, entry = chain.name("cache", levels.cache), f"old{chain.count}"
    load, missing = chain.name("load", levels.load), chain.name("MISSING", MISSING)
    number = chain.count
    new, time, state = f"new{number}", f"time{number}", f"state{number}"
    first, onward = _calls(chain, node, entry)
    chain.line(
        f"try: {entry} = {cache}[{key}]",
        f"except KeyError: {entry} = {load}({key})",
        f"if {entry} is {missing}: {new} = {first}; {time} = {chain.time}",
        "else:",
        f"    {new} = {onward}; {time} = {entry}[1]",
        f"    if {time} < {chain.time}: {time} = {chain.time}",
    )
    exact = node.store.value if isinstance(node.store.value, type) else None
    fit = chain.name("fit", levels.fit)
    chain.line(
        f"if {new}.__class__ is {chain.name('exact', exact)}: {state} = ({new}, {time})",
        f"elif {new} is None: {state} = {missing}",
        f"else: {state} = {fit}(({new}, {time})); {new} = {state}[0]",
        f"value = {new}",
    )
    dirty, begin = chain.name("dirty", levels.dirty), chain.name("begin", levels.begin)
    chain.effects += [
        f"if {key} in {dirty}: {cache}[{key}] = {dirty}[{key}] = {state}",
        f"elif {state} is not {entry}: {begin}({key}, {state})",
    ]
    chain.time = time
    return entry


def _calls(chain: "Chain", node: Aggregate, entry: str) -> tuple[str, str]:
    """The new value for a key without an entry, and for one with an entry."""
    if node.counts:
        return "1", f"{entry}[0] + 1"
    fn = chain.name("fn", node.fns[0])
    if node.initial is None:
        return "value", f"{fn}({entry}[0], value)"
    return f"{fn}({chain.name('initial', node.initial)}(), value)", f"{fn}({entry}[0], value)"
