"""Whether a program can read, whole, what an older one has stored.

Invariant: None is answered only if every value of the old type reads as a value of the new one
with nothing lost, and the relation is transitive, since a store may hold values of several older
programs. Fingerprints come from a store's ``__meta`` and from the program; the sentence goes into
the error that refuses the store.
"""

from typing import Any

import msgspec

from streamfn.serde.adapters import Node
from streamfn.serde.describe import LIMITS, canonical, node_name


def incompatibility(old_fingerprint: str, new_fingerprint: str) -> str | None:
    """Return None if all stored under the old type can be read, else what stands against it.

    Fields with defaults may be added, int may become float, a type may come to allow None or more
    members; nothing may be removed, renamed, made required or changed otherwise.
    """
    if old_fingerprint == new_fingerprint:
        return None
    old, new = msgspec.json.decode(old_fingerprint), msgspec.json.decode(new_fingerprint)
    comparison = _Comparison(old["objects"], new["objects"])
    return comparison.differ(old["root"], new["root"], "the type", frozenset())


class _Comparison:
    """Two descriptions side by side; ``assumed`` holds pairs of classes that are being compared."""

    def __init__(self, old_objects: dict[str, Node], new_objects: dict[str, Node]) -> None:
        self._old, self._new = old_objects, new_objects

    def differ(
        self, old: Node, new: Node, where: str, assumed: frozenset[tuple[str, str]]
    ) -> str | None:
        """Say why values of ``old`` do not read as ``new``, or None."""
        changed = f"{where} changed from {node_name(old)} to {node_name(new)}"
        if old["kind"] == "union" or new["kind"] == "union":
            return self._unions(old, new, where, assumed)
        if new["kind"] == "Any":
            return None if _reads_untyped(old) else changed
        if old["kind"] == "object" and new["kind"] == "object":
            return self._objects(old["name"], new["name"], where, assumed)
        if not _same_kind(old, new):
            return changed
        tightened = _tightened(old, new)
        if tightened is not None:
            return f"{where} was tightened: {tightened}"
        return self._inside(old, new, where, assumed)

    def _unions(
        self, old: Node, new: Node, where: str, assumed: frozenset[tuple[str, str]]
    ) -> str | None:
        """Each old member must read as one of the new ones."""
        for member in old.get("members", [old]):
            candidates = new.get("members", [new])
            reasons = [self.differ(member, each, where, assumed) for each in candidates]
            if None in reasons:
                continue
            alike = [
                reason
                for each, reason in zip(candidates, reasons, strict=True)
                if each["kind"] == member["kind"]
            ]
            if len(alike) == 1:
                return alike[0]
            return f"{where} changed from {node_name(old)} to {node_name(new)}"
        return None

    def _inside(
        self, old: Node, new: Node, where: str, assumed: frozenset[tuple[str, str]]
    ) -> str | None:
        """Compare what two types of one kind contain."""
        if "values" in old and "values" in new:
            gone = [value for value in old["values"] if value not in new["values"]]
            return f"{where} no longer has the value {gone[0]!r}" if gone else None
        pairs = [
            (old[part], new[part], f"the {part} of {where}")
            for part in ("item", "key", "value")
            if part in old
        ]
        if "items" in old:
            if len(old["items"]) != len(new["items"]):
                return f"{where} changed from {node_name(old)} to {node_name(new)}"
            pairs = [
                (*pair, f"item {index} of {where}")
                for index, pair in enumerate(zip(old["items"], new["items"], strict=True))
            ]
        reasons = (self.differ(*pair, assumed) for pair in pairs)
        return next((reason for reason in reasons if reason is not None), None)

    def _objects(
        self, old_name: str, new_name: str, where: str, assumed: frozenset[tuple[str, str]]
    ) -> str | None:
        """Compare two classes; a pair that is being compared further up counts as compatible."""
        if (old_name, new_name) in assumed:
            return None
        old, new = self._old[old_name], self._new[new_name]
        if old["layout"] != new["layout"] or old.get("tag") != new.get("tag"):
            return (
                f"{where} ({new_name}) is laid out or tagged differently than it was ({old_name})"
            )
        deeper = assumed | {(old_name, new_name)}
        if old["layout"] == "array" and _names(new)[: len(old["fields"])] != _names(old):
            return f"the fields of {new_name} no longer begin with {', '.join(_names(old))}"
        wanted = {_encoded(field): field for field in new["fields"]}
        for field in old["fields"]:
            reason = self._fields(field, wanted.pop(_encoded(field), None), new_name, deeper)
            if reason is not None:
                return reason
        added = next((field["name"] for field in wanted.values() if field["required"]), None)
        return added and f"new field {added!r} of {new_name} has no default"

    def _fields(
        self, old: Node, new: Node | None, owner: str, assumed: frozenset[tuple[str, str]]
    ) -> str | None:
        """Compare a field with its successor."""
        where = f"field {old['name']!r} of {owner}"
        if new is None:
            return f"{where} ({node_name(old['type'])}) was removed or renamed"
        if new["required"] and not old["required"]:
            return f"{where} lost its default, and older values may lack it"
        if "omitted" in old and old["omitted"] != new.get("omitted", old["omitted"]):
            return (
                f"the default of {where} changed from {old['omitted']} to {new['omitted']}, "
                "and values equal to the default were stored without it"
            )
        return self.differ(old["type"], new["type"], where, assumed)


def _encoded(field: Node) -> str:
    """The field's name in the bytes."""
    return str(field.get("encoded", field["name"]))


def _names(described: Node) -> list[str]:
    return [str(field["name"]) for field in described["fields"]]


def _same_kind(old: Node, new: Node) -> bool:
    """True if ``new`` is what ``old`` is, or a wider number, text or literal."""
    if old["kind"] == "literal" and new["kind"] in ("str", "int"):
        plain = str if new["kind"] == "str" else int
        return all(type(value) is plain for value in old["values"])
    if old["kind"] == "custom":
        return canonical(old) == canonical(new)
    return old["kind"] == new["kind"] or (old["kind"], new["kind"]) == ("int", "float")


def _reads_untyped(node: Node) -> bool:
    """True if a value reads back the same without its type."""
    if node["kind"] == "custom":
        return bool(node["name"] == "object")
    inside = [node[part] for part in ("item", "key", "value") if part in node]
    plain = ("Any", "None", "bool", "int", "float", "str", "bytes", "list", "dict")
    return node["kind"] in plain and all(map(_reads_untyped, inside))


def _tightened(old: Node, new: Node) -> str | None:
    """Say which constraint now excludes values that were allowed."""
    for limit in LIMITS:
        if limit in new and not _holds(limit, old.get(limit), new[limit]):
            return f"{limit}={new[limit]!r} (it was {old.get(limit)!r})"
    return None


def _holds(limit: str, old: Any, new: Any) -> bool:
    """True if all values that kept the old limit keep the new one."""
    if old == new:
        return True
    if old is None:
        return False
    if limit in ("gt", "ge", "min_length"):
        return bool(new < old)
    return limit in ("lt", "le", "max_length") and bool(new > old)
