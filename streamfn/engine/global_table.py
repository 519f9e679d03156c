"""``GlobalTable``: the rows of one global table, as stages look them up.

Records of its topic come from ``global_tables``; what is not in the database yet lies above it.
Invariant: a row is the last value of its key among the records taken so far, null values and all.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from streamfn.errors import SerdeError, StopError
from streamfn.graph.topology import GlobalTableSpec, Topology
from streamfn.serde import is_immutable, type_name
from streamfn.state.keys import key_codec

Read: TypeAlias = Callable[[bytes], bytes | None]


def _nowhere(key: bytes) -> bytes | None:
    """Nothing is read before the database is open."""
    return None


class GlobalTable:
    """The rows of one global table, by their keys."""

    def __init__(self, spec: GlobalTableSpec, cache_entries_max: int) -> None:
        self.spec, self.name = spec, spec.store.name
        self.new: dict[bytes, bytes | None] = {}
        """Read and not written to the database yet; None is a deletion."""
        self.read: Read = _nowhere
        self._encode = key_codec(spec.store.key).encode
        self._decode_key = spec.topic.key.decode
        self._decode = spec.topic.value.decode
        self._mutable = not is_immutable(spec.store.value)
        self._cache: dict[bytes, Any] = {}
        self._entries_max = cache_entries_max

    def get(self, key: Any, /) -> Any:
        """Return the value of a key, or None."""
        at = self._encode(key)
        try:
            return self._cache[at]
        except KeyError:
            return self._load(at, key)

    def _load(self, at: bytes, key: Any) -> Any:
        raw = self.new[at] if at in self.new else self.read(at)
        try:
            value = None if raw is None else self._decode(raw)
        except StopError:  # a schema registry that does not answer: no record is at fault
            raise
        except Exception as error:  # a serde may be a user's own: what it raises is the reason
            message = (
                f"global table {self.name!r} holds no {type_name(self.spec.store.value)} for key "
                f"{key!r}; got {error}; mend the record in topic {self.spec.topic.name!r}"
            )
            raise SerdeError(message) from error
        if not self._mutable:
            if len(self._cache) >= self._entries_max:
                self._cache.clear()
            self._cache[at] = value
        return value

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take a record of the topic.

        Raises:
            SerdeError: its key does not decode.
        """
        try:
            at = self._encode(self._decode_key(key))
        except StopError:  # a schema registry that does not answer: no record is at fault
            raise
        except Exception as error:  # a serde may be a user's own: what it raises is the reason
            message = f"key {key[:40]!r} is no {type_name(self.spec.store.key)}; got {error}"
            raise SerdeError(message) from error
        self._cache.pop(at, None)
        self.new[at] = value

    def entries(self, scan: Iterable[tuple[bytes, bytes]]) -> dict[Any, Any]:
        """All rows, in order of their keys, given those of the database."""
        rows = {**dict(scan), **self.new}
        decode = key_codec(self.spec.store.key).decode
        found = ((key, raw) for key, raw in sorted(rows.items()) if raw is not None)
        return {decode(key): self._decode(raw) for key, raw in found}


def tables_of(topology: Topology, cache_entries_max: int = 0) -> dict[str, GlobalTable]:
    """The global tables of a program, by name, with nothing in them."""
    return {
        name: GlobalTable(spec, cache_entries_max) for name, spec in topology.global_tables.items()
    }
