"""Which snapshot belongs to which test, and which to none.

Tests come from pytest, paths of files go to ``snapshots`` and to the plugin. Invariant: no two
tests have one file; a file is called unused only if all tests that could have used it have run.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = "snapshots"
SUFFIX: Final = ".jsonl"
MARK: Final = '{"streamfn_snapshot": '
"""How the first line of a snapshot begins: other tools have files of such names."""
NAME_LENGTH_MAX: Final = 100


# names
def folder_of(test_file: Path) -> Path:
    """Where the snapshots of a test file are."""
    return test_file.parent / FOLDER / test_file.stem


def name_of(item: pytest.Item) -> str:
    """The name of a test as part of a file's name: its classes, itself, its parameters."""
    return safe(".".join(names_of(item)))


def names_of(item: pytest.Item) -> list[str]:
    """The classes of a test, and the test, as on pytest's command line."""
    chain = item.listchain()
    return [node.name for node in chain if isinstance(node, pytest.Class) or node is item]


def safe(name: str) -> str:
    """Make a name that every file system takes; what is lost of it is told apart by a sum."""
    kept = re.sub(r"[^\w.,=+@\[\]-]+", "-", name, flags=re.ASCII)
    if kept == name and len(name) <= NAME_LENGTH_MAX:
        return name
    return f"{kept[:NAME_LENGTH_MAX]}-{sha256(name.encode()).hexdigest()[:8]}"


# what nobody uses
@dataclass(slots=True)
class Tests:
    """The tests of a file: those that there are, and those that passed."""

    known: set[str] = field(default_factory=set[str])
    passed: set[str] = field(default_factory=set[str])


def tests_of(items: Iterable[pytest.Item], passed: set[str]) -> dict[str, Tests]:
    """Group tests by their files, as far as there are snapshots of them; ``passed``: node ids."""
    found: dict[str, Tests] = {}
    beside: dict[Path, bool] = {}
    for item in items:
        folder = item.path.parent
        if folder not in beside:
            beside[folder] = (folder / FOLDER).is_dir()
        if beside[folder]:
            tests, name = found.setdefault(str(item.path), Tests()), name_of(item)
            tests.known.add(name)
            if item.nodeid in passed:
                tests.passed.add(name)
    return found


def unused(files: dict[str, Tests], used: set[str], *, partial: bool) -> list[str]:
    """Return the snapshots that no test uses any more.

    Args:
        files: the test files that were collected.
        used: the snapshots that were.
        partial: not all tests of the files are known.
    """
    found = set[Path]()
    for folder in {Path(path).parent / FOLDER for path in files}:
        for sub in sorted(folder.iterdir()):
            if not (folder.parent / f"{sub.name}.py").exists():
                found.update(_snapshots_in(sub))
    for path, tests in files.items():
        for snapshot in _snapshots_in(folder_of(Path(path))):
            if str(snapshot) not in used and _is_unused(snapshot, tests, partial):
                found.add(snapshot)
    return sorted(map(str, found))


def _is_unused(snapshot: Path, tests: Tests, partial: bool) -> bool:
    name = snapshot.name.removesuffix(SUFFIX)
    owners = {test for test in tests.known if name == test or name.startswith(f"{test}.")}
    return owners <= tests.passed if owners else not partial


def _snapshots_in(folder: Path) -> list[Path]:
    """The snapshots in a folder; other tools keep theirs in folders of the same name."""
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.glob(f"*{SUFFIX}")) if _is_ours(path)]


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK.encode()
