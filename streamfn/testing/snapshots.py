"""Snapshot files: what a replay has made, next to the test that checks it, a record a line.

Lines come from a result and go to ``snapshots/<test file>/<test>.jsonl``, or are compared with what
stands there. Invariant: a snapshot is rewritten only if pytest is told to, as a whole or not at
all; the same outputs make the same bytes, on any machine and number of workers.

A line bears no offset: the order of lines tells it, and one record more is one line more in review.
"""

import json
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import count, islice
from pathlib import Path
from typing import Any, Final, cast

import pytest

from streamfn.testing.explain import Facts, compare, explained, line_of, summary
from streamfn.testing.snapshot_files import SUFFIX, folder_of, name_of, names_of, safe

VERSION: Final = 1
BLOCK_RECORDS: Final = 10_000
"""So many records behind the first ones share a line with their sum."""
HEADER_LINES: Final = 1


# the lines
def lines_of(places: Iterable[tuple[str, str, Iterable[Facts]]], first: int) -> Iterator[str]:
    """Write the records of each topic and the entries of each store.

    Args:
        places: ``topic`` or ``store``, its name, what is in it, in order.
        first: so many of each are written out; of the rest there are sums.
    """
    for kind, name, found in places:
        rows = iter(found)
        yield from map(line_of, islice(rows, first))
        begin = first + 1
        while block := [line_of(row) for row in islice(rows, BLOCK_RECORDS)]:
            digest = sha256("\n".join(block).encode()).hexdigest()[:16]
            span = f"{begin} to {begin + len(block) - 1}"
            yield line_of({kind: name, "records": span, "sha256": digest})
            begin += len(block)


def header_of(application: str, first: int) -> str:
    """Write the first line."""
    return line_of({"streamfn_snapshot": VERSION, "application": application, "first": first})


# the file
class Snapshots:
    """The snapshots of one test."""

    def __init__(
        self, item: pytest.Item, used: set[str], written: set[str], *, update: bool
    ) -> None:
        """``used`` and ``written`` take the paths of what is looked at, and what is written."""
        self._used, self._written, self._update = used, written, update
        self._folder = folder_of(item.path)
        self._root = item.config.rootpath
        self._test = name_of(item)
        self._command = _command(item)
        self._taken = set[str]()

    def path(self, name: str) -> Path:
        """Name the next snapshot of the test; a second one without a name is numbered."""
        base = ".".join([self._test, safe(name)] if name else [self._test])
        numbered = (f"{base}.{number}" if number > 1 else base for number in count(1))
        free = next(each for each in numbered if each not in self._taken)
        self._taken.add(free)
        return self._folder / f"{free}{SUFFIX}"

    def check(self, lines: Sequence[str], name: str = "") -> None:
        """Compare lines with the snapshot, or write it if pytest is told to.

        Raises:
            pytest.fail.Exception: they differ, or there is no snapshot.
        """
        __tracebackhide__ = True
        path = self.path(name)
        self._used.add(str(path))
        text = "".join(f"{line}\n" for line in lines)
        before = _read(path)
        if before == text:
            return
        if self._update:
            _write(path, text)
            self._written.add(str(path))
            return
        place = self._shown(path)
        if before is None:
            made = len(lines) - HEADER_LINES
            said = [f"snapshot {place} does not exist; it would have {made:,} lines"]
        else:
            said = _differing(before.split("\n"), lines, place)
        pytest.fail("\n".join([*said, f"if this is right: {self._command}"]))

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self._root) if path.is_relative_to(self._root) else path)


def _differing(before: list[str], lines: Sequence[str], place: str) -> list[str]:
    """Say in what a snapshot differs from what it should be."""
    expected = before[:-1] if before[-1] == "" else before
    if expected[:HEADER_LINES] != list(lines[:HEADER_LINES]):
        got = expected[0][:200] if expected else "an empty file"
        return [f"snapshot {place} was made otherwise; got {got}, now it is {lines[0]}"]
    left: list[Facts] = []
    for number, line in enumerate(expected[HEADER_LINES:], 1 + HEADER_LINES):
        facts = _facts(line)
        if facts is None:
            return [f"snapshot {place}, line {number}: is no line of a snapshot; got {line[:80]!r}"]
        left.append(facts)
    right = [cast(Facts, json.loads(line)) for line in lines[HEADER_LINES:]]
    found = compare(left, right)
    head = f"snapshot {place} differs: {summary(found) or 'only in how it is written'}"
    head += f" (it has {len(left):,} lines, now there are {len(right):,})"
    return [head, *explained(found, left, right, noun="line", first=1 + HEADER_LINES)]


def _facts(line: str) -> Facts | None:
    try:
        found: Any = json.loads(line)
    except ValueError:
        return None
    return cast(Facts, found) if isinstance(found, dict) else None


def _read(path: Path) -> str | None:
    """Read a snapshot; git may have given it other line ends."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return data.decode(errors="replace").replace("\r\n", "\n")


def _write(path: Path, text: str) -> None:
    """Write a whole file or none; workers of xdist never share a half one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _command(item: pytest.Item) -> str:
    root = item.config.rootpath
    path = item.path.relative_to(root) if item.path.is_relative_to(root) else item.path
    return f"pytest {shlex.quote('::'.join([str(path), *names_of(item)]))} --streamfn-update"
