"""Schema files: what one names and does not define is looked for in the files beside it.

Invariant: what is read is whole, since each name that a file beside it defines is put in where it
is first used. Files come from the program's folder; their schemas go to ``avro_schema``.
"""

import json
from pathlib import Path
from typing import Any

from streamfn.errors import SerdeError
from streamfn.serde.avro_parts import NAMED, PRIMITIVES, Definition, is_object, is_union


def schema_file(path: str | Path) -> Definition:
    """Read a schema file; what holds the text of a schema itself is told from a path.

    Raises:
        SerdeError: there is no such file, it is no JSON, or one beside it does not have its name.
    """
    if isinstance(path, str) and path.lstrip()[:1] in ("{", "["):
        message = (
            f"Avro schema {path.strip()[:40]!r}… is no file; got the text of a schema; pass "
            "json.loads(text), or the path of a file"
        )
        raise SerdeError(message)
    return _Names(Path(path).parent).whole(_loaded(path), "")


def _loaded(path: str | Path) -> Definition:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        message = (
            f"Avro schema {str(path)!r} cannot be read; got {error.strerror}; name a file, "
            "relative to the folder that the program is started in, or Path(__file__).parent / ..."
        )
        raise SerdeError(message) from error
    except ValueError as error:
        message = f"Avro schema {str(path)!r} is no JSON; got {error}; write it as JSON (.avsc)"
        raise SerdeError(message) from error


class _Names:
    """The names that are defined so far, in the order of the text, as Avro wants it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._defined: set[str] = set()

    def whole(self, definition: Definition, namespace: str) -> Definition:
        """The schema with those that stand in other files; of what is no schema nothing is said."""
        if isinstance(definition, str):
            return self._named(definition, namespace)
        if is_union(definition):
            return [self.whole(each, namespace) for each in definition]
        if not is_object(definition) or "type" not in definition:
            return definition
        found, kind = dict(definition), definition["type"]
        if not isinstance(kind, str):
            found["type"] = self.whole(kind, namespace)
        elif kind in NAMED:
            full = _full(definition, namespace)
            self._defined.add(full)
            namespace = full.rpartition(".")[0]
        elif kind not in ("array", "map", *PRIMITIVES):
            return self._named(kind, namespace)  # fastavro takes a name only as it is
        for word in ("items", "values"):
            if word in definition:
                found[word] = self.whole(definition[word], namespace)
        if is_union(definition.get("fields")):
            found["fields"] = [self._field(each, namespace) for each in definition["fields"]]
        return found

    def _field(self, field: Any, namespace: str) -> Any:
        if not is_object(field) or "type" not in field:
            return field
        return {**field, "type": self.whole(field["type"], namespace)}

    def _named(self, name: str, namespace: str) -> Definition:
        """What a name stands for, if it is the first time and a file has it."""
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if name in PRIMITIVES or full in self._defined:
            return name
        wanted = dict.fromkeys((f"{full}.avsc", f"{full.rpartition('.')[2]}.avsc"))
        path = next(
            (self._folder / each for each in wanted if (self._folder / each).exists()), None
        )
        if path is None:
            return name
        found = _loaded(path)
        own = _full(found, "") if is_object(found) and found.get("type") in NAMED else "no name"
        if own != full:
            message = (
                f"Avro schema {str(path)!r} does not define {full!r}; got {own}; give it that name "
                "and namespace, or put the one that is meant into another file"
            )
            raise SerdeError(message)
        return self.whole(found, namespace)


def _full(definition: dict[str, Any], namespace: str) -> str:
    """The full name of a named type, which may have a namespace of its own."""
    name, own = str(definition.get("name")), definition.get("namespace", namespace)
    return name if "." in name or not own else f"{own}.{name}"
