"""Versions of a program: the one at hand, another file, or the same file at a git revision.

A command line names them; they go as targets with folders to child processes. Invariant: the
working tree and the repository are only read: a revision is unpacked as a whole into a temporary
folder, so that a program finds the modules beside it as they were.
"""

import importlib.util
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamfn.errors import ConfigError

GIT_PREFIX: Final = "git:"
PATIENCE_S: Final = 120


@dataclass(frozen=True)
class Version:
    """A program that can be loaded by another process."""

    name: str
    """How tables and errors speak of it."""
    target: str
    paths: tuple[str, ...] = ()
    """Folders in which its modules are looked for first."""
    folder: str | None = None
    """Where its process works; None: here."""
    root: str = "."
    """What errors leave out of paths."""


def this_version(target: str, name: str = "") -> Version:
    """The program as it is in its file now."""
    return Version(name or target, target, _paths())


@contextmanager
def other_version(target: str, against: str) -> Generator[Version]:
    """Find what ``--against`` names: a program, or a git revision of the same one.

    Raises:
        ConfigError: it is neither, or git does not have it; the text says which.
    """
    if not against.startswith(GIT_PREFIX) and _is_program(against):
        yield this_version(against)
        return
    revision = against.removeprefix(GIT_PREFIX)
    place, name = split_target(target)
    file = _file_of(place)
    root = _repository(file, against)
    commit = _commit(root, revision, against, file)
    inside = file.relative_to(root)
    _check_inside(root, commit, revision, inside)
    with tempfile.TemporaryDirectory(prefix="streamfn-version-") as folder:
        top = Path(folder).resolve()
        _unpack(root, commit, top)
        here = _moved(Path.cwd(), root, top)
        paths = tuple(str(_moved(Path(path), root, top)) for path in _paths())
        moved = f"{place if not _is_file(place) else top / inside}{name and f':{name}'}"
        works_in = str(here) if here.is_dir() else None
        yield Version(f"{inside} at {revision}", moved, paths, works_in, str(top))


def split_target(target: str) -> tuple[str, str]:
    """Part ``place:app``; a path may hold colons of its own."""
    place, colon, name = target.rpartition(":")
    return (place, name) if colon and (name.isidentifier() or not name) else (target, "")


def _is_program(against: str) -> bool:
    """Tell programs from revisions: what ends in .py or is a file is none of git's."""
    place, _ = split_target(against)
    return place.endswith(".py") or Path(place).is_file() or _module_file(place) is not None


def _is_file(place: str) -> bool:
    return place.endswith(".py") or Path(place).is_file()


def _paths() -> tuple[str, ...]:
    """Where this process looks for modules because of where it was started."""
    here = str(Path.cwd())
    return (here,) if here in (os.path.abspath(path or ".") for path in sys.path[:1]) else ()


def _module_file(name: str) -> Path | None:
    """The file of a module, without running it; its packages are run."""
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    finally:
        sys.path[:] = before
    return Path(spec.origin).resolve() if spec and spec.origin and spec.has_location else None


def _file_of(place: str) -> Path:
    found = Path(place).resolve() if _is_file(place) else _module_file(place)
    if found is None or not found.is_file():
        message = (
            f"program {place!r} has no file; got nothing that git could have; name it as FILE.py"
        )
        raise ConfigError(message)
    return found


def _moved(path: Path, root: Path, top: Path) -> Path:
    """A folder of the repository as it is in the unpacked one; any other as it is."""
    path = path.resolve()
    return top / path.relative_to(root) if path.is_relative_to(root) else path


# git
def _git(folder: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    """Run git; its repository is the folder's, whatever the environment says."""
    environment = {name: text for name, text in os.environ.items() if name not in _REPOSITORY}
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True, check=False, timeout=PATIENCE_S, env=environment,
        )  # fmt: skip
    except FileNotFoundError as error:
        message = (
            "git is not installed; got no command 'git'; install it, or give --against OTHER.py"
        )
        raise ConfigError(message) from error
    except subprocess.TimeoutExpired as error:
        message = (
            f"git does not answer; got nothing for {PATIENCE_S} s from 'git {words[0]}'; look at "
            "the repository, or give --against OTHER.py"
        )
        raise ConfigError(message) from error


_REPOSITORY: Final = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}


def _said(done: "subprocess.CompletedProcess[bytes]") -> str:
    return " ".join(done.stderr.decode(errors="replace").split()) or f"exit code {done.returncode}"


def _repository(file: Path, against: str) -> Path:
    done = _git(file.parent, "rev-parse", "--show-toplevel")
    if done.returncode:
        message = (
            f"--against {against!r} is no program, and {file.name} is in no git repository that "
            f"could have it as a revision; got {_said(done)}; give OTHER.py, or a revision inside "
            "a repository"
        )
        raise ConfigError(message)
    return Path(os.fsdecode(done.stdout.rstrip(b"\n"))).resolve()


def _commit(root: Path, revision: str, against: str, file: Path) -> str:
    words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    done = _git(root, *words)
    if revision and not done.returncode:
        return done.stdout.decode().strip()
    known = _git(root, "log", "-3", "--format=%h").stdout.decode().split()
    last = f"the last commits are {', '.join(known)}" if known else "it has no commit yet"
    message = (
        f"--against {against!r} is neither a program nor a revision of {file.name}; got no such "
        f"file, and no such commit in {root.name} ({last}); give OTHER.py, HEAD~1 or a commit"
    )
    raise ConfigError(message)


def _check_inside(root: Path, commit: str, revision: str, inside: Path) -> None:
    if not _git(root, "cat-file", "-e", f"{commit}:{inside.as_posix()}").returncode:
        return
    tracked = not _git(root, "ls-files", "--error-unmatch", "--", str(inside)).returncode
    if tracked:
        got = f"it came later: {_added(root, inside)}"
        cure = "name a later revision, or OTHER.py if it had another name"
    else:
        got, cure = "it was never committed", "commit it first, or give --against OTHER.py"
    message = f"program {str(inside)!r} is not in revision {revision!r}; got {got}; {cure}"
    raise ConfigError(message)


def _added(root: Path, inside: Path) -> str:
    words = ("log", "--diff-filter=A", "--format=%h of %as", "-1", "--", str(inside))
    return _git(root, *words).stdout.decode().strip() or "it is not committed yet"


def _unpack(root: Path, commit: str, folder: Path) -> None:
    """Write all files of a commit into a folder."""
    done = _git(root, "archive", "--format=tar", commit)
    if done.returncode:
        message = (
            f"revision {commit[:12]} cannot be unpacked; got {_said(done)}; look at the repository"
        )
        raise ConfigError(message)
    try:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
    except OSError as error:
        message = (
            f"revision {commit[:12]} cannot be unpacked into {str(folder)!r}; got "
            f"{error.strerror or error}; make room there, or set TMPDIR"
        )
        raise ConfigError(message) from error
