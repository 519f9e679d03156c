"""How the entries of each kind of store are laid out, and how people see them.

Operators write entries under these keys; ``state``, ``TestDriver.state`` and look-ups read them.
Invariant: registers (stream time and the like) and indexes begin with another byte than the entries
themselves, so that a scan of the entries never meets them.

    value, map, store    key → value
    table                key → (value, time)
    versioned            02 key → (latest value, its time); what was before lies behind 01
    window               02 start key → (aggregate, time)
    sliding              02 key start → (aggregate, time)         01 start key: by time
    session              02 key start → (aggregate, end)          01 due key start: by close
    buffer               the operator's own; nobody else sees it
    global               key → value as the topic has it; no task has it, but the worker

    registers            00 name → (None, time)

``start`` and ``due`` are eight bytes of milliseconds. In a key that begins with the time, the
record's key stands as it is; elsewhere it ends itself (a component of ``state.keys``).
"""

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from streamfn.graph.topology import PLAIN_KINDS, StoreSpec, WindowSpec
from streamfn.serde import Serde, state_serde, timed_serde
from streamfn.state.keys import key_codec
from streamfn.windowed import FOREVER_MS, Windowed

REGISTER: Final = b"\x00"
INDEX: Final = b"\x01"
ENTRY: Final = b"\x02"
ENTRY_END: Final = b"\x03"

TIME: Final = Struct(">Q")
_START: Final = Struct(">cQ")


def window_key(start_ms: int, key: bytes) -> bytes:
    """The key of an entry of kind ``window``: in order of time, then of the key."""
    return _START.pack(ENTRY, start_ms) + key


def entry_serde(spec: StoreSpec) -> Serde[Any]:
    """The serde of a store's values as they are written."""
    return state_serde(spec.value) if spec.kind in PLAIN_KINDS else timed_serde(spec.value)


def layout_of(spec: StoreSpec) -> str:
    """Say how a store's entries are laid out; another text means that they cannot be read."""
    if spec.kind in PLAIN_KINDS:
        return ""
    if spec.window is None:
        return spec.kind
    return f"{spec.window.kind} {spec.window.size_ms} {spec.window.advance_ms}"


def window_end(window: WindowSpec, start_ms: int) -> int:
    """Where a window of fixed size ends."""
    return FOREVER_MS if window.kind == "unlimited" else start_ms + window.size_ms


def encode_key(spec: StoreSpec) -> Callable[[Any], bytes]:
    """Return what turns the key that people use into an entry's key."""
    codec = key_codec(spec.key)
    match spec.kind:
        case "window":
            return lambda key: window_key(key.start_ms, codec.encode(key.key))
        case "sliding" | "session":
            return lambda key: ENTRY + codec.component.encode(key.key) + TIME.pack(key.start_ms)
        case "versioned":
            return lambda key: ENTRY + codec.encode(key)
        case _:
            return codec.encode


def decode_entry(spec: StoreSpec) -> Callable[[bytes, Any], tuple[Any, Any] | None]:
    """Return what turns an entry into the (key, value) that people see; None: not for them."""
    decode = key_codec(spec.key).decode
    if spec.kind in PLAIN_KINDS:
        return lambda raw, value: (decode(raw), value)
    if spec.kind == "table":
        return lambda raw, entry: (decode(raw), entry[0])
    if spec.kind == "buffer":
        return lambda raw, entry: None
    seen = _windowed_key(spec) if spec.window is not None else _plain_key(spec)

    def visible(raw: bytes, entry: Any) -> tuple[Any, Any] | None:
        if not raw.startswith(ENTRY) or entry[0] is None:
            return None
        return seen(raw, entry), entry[0]

    return visible


def _plain_key(spec: StoreSpec) -> Callable[[bytes, Any], Any]:
    decode = key_codec(spec.key).decode
    return lambda raw, entry: decode(raw[1:])


def _windowed_key(spec: StoreSpec) -> Callable[[bytes, Any], Windowed[Any]]:
    window, codec = spec.window, key_codec(spec.key)
    assert window is not None

    def by_time(raw: bytes, entry: Any) -> Windowed[Any]:
        (start_ms,) = TIME.unpack_from(raw, 1)
        return Windowed(codec.decode(raw[9:]), start_ms, window_end(window, start_ms))

    def by_key(raw: bytes, entry: Any) -> Windowed[Any]:
        key, at = codec.component.decode(raw, 1)
        (start_ms,) = TIME.unpack_from(raw, at)
        end_ms = entry[1] if spec.kind == "session" else window_end(window, start_ms)
        return Windowed(key, start_ms, end_ms)

    return by_time if spec.kind == "window" else by_key
