"""The house rules as tests: sizes, layers, what stays out below a port, links, packaging.

Each rule is a function from one source file to the places that break it, written ``file:line
what``. A rule that matches nothing is worse than none, so every rule is also shown something it
must see.
"""

import ast
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeGuard

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINKED = ("connectors", "state", "topologies")  # stand at the top, are imported as streamfn.<name>
LIBRARY = ("streamfn", *LINKED)
TEXT_SUFFIXES = {".cfg", ".ini", ".in", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".yml", ""}

LAYERS = (
    {*"chance errors record serde clock config metrics database rocks windowed".split()},  # noqa: SIM905
    {"state", "connectors"},
    {"graph"},
    {"function"},
    {"dsl"},
    {"engine"},
    {"app", "results", "run", "testing", "replay"},
    {"cli", "__main__"},
    {"topologies"},
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
APART = {"state", "connectors"}  # of one layer, and yet neither may know the other
BELOW_A_PORT = {"engine", "state", "connectors", "graph", "function", "dsl"}

COMPOSERS = {"app", "results", "run", "testing", "replay", "cli"}
CONCRETE = {  # module prefix → the rooms that may name it
    "streamfn.connectors.embedded": COMPOSERS | {"connectors"},
    "streamfn.connectors.kafka": COMPOSERS | {"connectors"},
    "streamfn.connectors.files": COMPOSERS | {"connectors"},
    "streamfn.state.home": COMPOSERS | {"state"},
    "streamfn.state.rocksdb": COMPOSERS | {"state"},
    "streamfn.state.memory": COMPOSERS | {"state"},
    "streamfn.database": COMPOSERS | {"connectors", "state", "rocks"},
    "streamfn.rocks": COMPOSERS | {"connectors", "state"},
}
NEVER = {"threading", "_thread", "random", "asyncio.run", "time.sleep", "time.time", "time.time_ns"}
LOGICAL = {"time", "secrets", "os.urandom", "uuid.uuid1", "uuid.uuid4"}  # ask Clock and Random
FIRST_WORDS_OF_CHECKS = re.compile(r"(assert|check|expect|verify|raises|warns|run_state_machine)")


class Source(NamedTuple):
    """One Python file, read and parsed."""

    name: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """The name it is imported by."""
        parts = Path(self.name).with_suffix("").parts
        parts = ("streamfn", *parts) if parts[0] in LINKED else parts
        return ".".join(parts).removesuffix(".__init__")

    @property
    def room(self) -> str:
        """Its folder or module directly under ``streamfn``; empty for the package and the rest."""
        parts = self.module.split(".")
        return parts[1] if parts[0] == "streamfn" and len(parts) > 1 else ""

    @property
    def below_a_port(self) -> bool:
        """Whether it reaches the world only through ports, or is the far side of one."""
        return self.room in BELOW_A_PORT

    def at(self, node: ast.AST, what: str) -> str:
        """Say where and what."""
        return f"{self.name}:{getattr(node, 'lineno', 1)} {what}"


Rule: TypeAlias = Callable[[Source], Iterable[str]]


@cache
def all_files() -> tuple[Path, ...]:
    """Every file of the tree that people write, links and caches left out."""
    found: list[Path] = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = sorted(name for name in subfolders if is_ours(Path(folder, name)))
        found += [Path(folder, name) for name in sorted(names)]
    made = {
        path
        for path in found
        if path.is_symlink() or path.name == ".git" or path.name.startswith(".coverage")
    }
    return tuple(path for path in found if path not in made)


def is_ours(folder: Path) -> bool:
    """Tell people's folders from those that tools make."""
    hidden = folder.name.startswith(".") and folder.name not in {".ci", ".github"}
    made = folder.name in {"__pycache__", "build", "dist"} or folder.suffix == ".egg-info"
    return not (hidden or made or folder.is_symlink())


def parsed(name: str, text: str) -> Source:
    """Make a source from its text."""
    return Source(name, text, ast.parse(text, name))


@cache
def all_sources() -> tuple[Source, ...]:
    """Every Python file of the tree."""
    return tuple(
        parsed(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in all_files()
        if path.suffix == ".py"
    )


def assert_kept(rule: Rule) -> None:
    """Fail with every place that breaks the rule."""
    places = [place for source in all_sources() for place in rule(source)]
    assert not places, "\n" + "\n".join(places)


def imports(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """Yield every imported name in full: the module, and ``module.name`` for a from-import."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, f"{node.module or ''}.{alias.name}") for alias in node.names)


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def within(name: str, prefixes: Iterable[str]) -> bool:
    """Tell whether a dotted name is one of the prefixes or below one."""
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def long_file(source: Source) -> Iterator[str]:
    """A file has at most 400 lines."""
    lines = len(source.text.splitlines())
    if lines > 400:
        yield f"{source.name}:401 the file has {lines} lines; at most 400: split it"


def long_function(source: Source) -> Iterator[str]:
    """A function has at most 60 lines."""
    for node in functions(source):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > 60:
            yield source.at(node, f"{node.name} has {lines} lines; at most 60: split it")


def without_docstring(source: Source) -> Iterator[str]:
    """A module says what lives in it."""
    if not ast.get_docstring(source.tree):
        yield f"{source.name}:1 the module has no docstring"


def upward_import(source: Source) -> Iterator[str]:
    """A module imports from its own layer and lower ones; state and connectors stay apart."""
    if not source.room or source.room == "topologies":
        return
    if source.room not in RANK:
        yield f"{source.name}:1 {source.room!r} stands in no layer; name it in LAYERS"
        return
    for node, name in imports(source):
        other = name.split(".")[1] if name.startswith("streamfn.") else ""
        if name == "streamfn" or (other and other not in RANK):
            yield source.at(node, f"imports {name}, which stands in no layer; name its module")
        elif other and RANK[other] > RANK[source.room]:
            yield source.at(node, f"{source.room} imports {name}, which stands higher")
        elif other and other != source.room and {other, source.room} == APART:
            yield source.at(node, f"{source.room} imports {name}; state and connectors stay apart")


def concrete_import(source: Source) -> Iterator[str]:
    """Only app, testing and cli name concrete adapters; the engine knows ports."""
    for node, name in imports(source):
        for adapter, rooms in CONCRETE.items():
            named = name == adapter or name.startswith((adapter + ".", adapter + "_"))
            if source.room and named and source.room not in rooms:
                yield source.at(node, f"{source.room} names the adapter {name}; use the port")


def private_import(source: Source) -> Iterator[str]:
    """A topology uses what a user has: ``import streamfn as sf`` and other people's packages."""
    for node, name in imports(source):
        own = name.startswith("streamfn.topologies.")
        if source.room == "topologies" and name.startswith(("streamfn.", ".")) and not own:
            yield source.at(node, f"imports {name}; a topology says `import streamfn as sf`")


def banned_below_a_port(source: Source) -> Iterator[str]:
    """No threads, no sleeping, no clock or chance but those of the ports."""
    if not source.below_a_port:
        return
    timeless = source.room not in {"state", "connectors"} or source.module.startswith(
        "streamfn.connectors.embedded"
    )
    banned = NEVER | LOGICAL if timeless else NEVER
    used = [(node, ast.unparse(node)) for node in ast.walk(source.tree) if is_dotted(node)]
    for node, name in [*imports(source), *used]:
        if within(name, banned):
            yield source.at(node, f"{name} below a port; ask Clock or Random, or do without")


def is_dotted(node: ast.AST) -> TypeGuard[ast.Attribute]:
    """Tell whether a node reads an attribute of a plain name, as ``time.sleep`` does."""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)


def broad_except(source: Source) -> Iterator[str]:
    """Below a port nothing keeps a BaseException: a simulated crash and Ctrl-C must pass.

    ``failed`` undoes the record and raises what is no Exception again.
    """
    for node in ast.walk(source.tree):
        if source.below_a_port and isinstance(node, ast.ExceptHandler):
            caught = "" if node.type is None else ast.unparse(node.type)
            passed_on = re.search(r"failed\(.*error, marks\)", ast.unparse(node.body[-1]))
            if not caught or ("BaseException" in caught and not passed_on):
                yield source.at(node, f"`except {caught}` below a port; name what can happen")


def printing(source: Source) -> Iterator[str]:
    """The library never prints; the command line does."""
    for node in ast.walk(source.tree):
        prints = isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        if prints and source.room not in {"", "cli"}:
            yield source.at(node, "print in the library; log it, or do it in cli")


def unfinished(source: Source) -> Iterator[str]:
    """Nothing is left for later."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if re.search(r"\b(TO[D]O|FIXM[E]|XX[X]|HAC[K]|NotImplemented[E]rror)\b", line):
            yield f"{source.name}:{number} unfinished: {line.strip()}"


def empty_test(source: Source) -> Iterator[str]:
    """A test can fail: it asserts, expects an exception, or calls a helper that checks."""
    for node in functions(source):
        is_test = source.name.startswith("tests/") and node.name.startswith("test_")
        if is_test and not any(is_check(part) for part in ast.walk(node)):
            yield source.at(node, f"{node.name} asserts nothing")


def is_check(node: ast.AST) -> bool:
    """Tell whether a node can make a test fail."""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func).rsplit(".", 1)[-1].lstrip("_")
        return bool(FIRST_WORDS_OF_CHECKS.match(called))
    return isinstance(node, ast.Assert)


def sleeping_test(source: Source) -> Iterator[str]:
    """A test does not wait for real time to pass; on a real broker, between two looks at it."""
    if not source.name.startswith("tests/") or source.name.startswith("tests/broker/"):
        return
    used = [(node, ast.unparse(node)) for node in ast.walk(source.tree) if is_dotted(node)]
    for node, name in [*imports(source), *used]:
        if name in {"time.sleep", "asyncio.sleep"}:
            yield source.at(node, f"{name} in a test; move a ManualClock")


SEEN: tuple[tuple[Rule, str, str], ...] = (
    (long_file, "streamfn/app.py", "\n" * 401),
    (long_function, "streamfn/app.py", "def f():\n" + "    x = 1\n" * 60),
    (without_docstring, "state/keys.py", "x = 1"),
    (upward_import, "state/keys.py", "from streamfn.connectors.log import Log"),
    (upward_import, "connectors/log.py", "import streamfn.state.store"),
    (upward_import, "streamfn/graph/plan.py", "from streamfn.dsl.stream import Stream"),
    (upward_import, "streamfn/record.py", "def f():\n    from streamfn.app import App"),
    (upward_import, "streamfn/engine/task.py", "import streamfn"),
    (upward_import, "streamfn/attic.py", ""),
    (concrete_import, "streamfn/engine/task.py", "from streamfn.rocks import open_database"),
    (concrete_import, "streamfn/dsl/stream.py", "from streamfn.connectors.files import Csv"),
    (concrete_import, "streamfn/engine/task.py", "from streamfn.state import memory"),
    (private_import, "topologies/flights.py", "from streamfn.app import App"),
    (banned_below_a_port, "streamfn/engine/worker.py", "import threading"),
    (banned_below_a_port, "streamfn/engine/worker.py", "import time"),
    (banned_below_a_port, "connectors/embedded.py", "from time import monotonic"),
    (banned_below_a_port, "connectors/kafka.py", "import time\ntime.sleep(1)"),
    (banned_below_a_port, "state/directory.py", "from random import Random"),
    (broad_except, "state/rocksdb.py", "try:\n    x = 1\nexcept:\n    raise"),
    (broad_except, "state/rocksdb.py", "try:\n    x = 1\nexcept BaseException:\n    raise"),
    (printing, "streamfn/engine/worker.py", "print(1)"),
    (unfinished, "streamfn/app.py", "x = 1  # TO" + "DO: more"),
    (empty_test, "tests/unit/test_x.py", "def test_x():\n    x = 1"),
    (sleeping_test, "tests/unit/test_x.py", "import time\ntime.sleep(1)"),
)
RULES = tuple(dict.fromkeys(rule for rule, _, _ in SEEN))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_is_kept(rule: Rule) -> None:
    """The tree keeps each rule."""
    assert_kept(rule)


@pytest.mark.parametrize(("rule", "name", "text"), SEEN, ids=lambda part: "")
def test_rule_sees(rule: Rule, name: str, text: str) -> None:
    """Each rule sees what it forbids, and says where."""
    places = list(rule(parsed(name, text)))
    assert places
    assert all(re.match(rf"{re.escape(name)}:\d+ ", place) for place in places)


def test_layers_allow_what_they_should() -> None:
    """Imports that go down a layer, or stay in one, are fine."""
    text = "import time\nfrom streamfn.state.store import StateStore\nimport streamfn.engine.task\n"
    assert not list(upward_import(parsed("streamfn/engine/commit.py", text)))
    assert not list(concrete_import(parsed("streamfn/engine/commit.py", text)))
    assert not list(banned_below_a_port(parsed("connectors/kafka.py", text)))


def test_packages_are_listed() -> None:
    """Every folder of the library is a package, and pyproject.toml names exactly those."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    folders = {
        source.module if source.name.endswith("__init__.py") else source.module.rpartition(".")[0]
        for source in all_sources()
        if source.name.split("/")[0] in LIBRARY
    }
    modules = {source.module for source in all_sources() if source.name.endswith("__init__.py")}
    assert not folders - modules, f"without __init__.py: {sorted(folders - modules)}"
    assert set(tool["packages"]) == folders, "pyproject.toml:1 [tool.setuptools] packages"
    assert {f"streamfn.{name}" for name in LINKED} < set(tool["package-dir"])


def test_public_names_are_sorted() -> None:
    """``streamfn.__all__`` is in ruff's order (CONSTANTS, Classes, functions), each name once."""
    tree = ast.parse((ROOT / "streamfn/__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
            assert list(names) == sorted(set(names), key=public_order), f"line {node.lineno}"


def public_order(name: str) -> tuple[bool, bool, str]:
    """Sort constants first, then classes, then the rest."""
    return not (name.isupper() and len(name) > 1), not name[:1].isupper(), name


def test_no_place_is_named() -> None:
    """No file names a folder of one machine or the host of a package registry."""
    place = re.compile(
        r"(?<![\w./~-])/(wor[k]|roo[t]|hom[e]|tm[p])\b|py[p]i\.org|pythonhoste[d]|npmj[s]\."
    )
    places = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()}"
        for path in all_files()
        if path.suffix in TEXT_SUFFIXES and not re.search(r"test_.*(path|directory)", path.name)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if place.search(line)
    ]
    assert not places, "\n" + "\n".join(places)


def test_lock_is_hashed() -> None:
    """Every locked requirement is pinned and has a hash, and comes from wherever pip looks."""
    for name in ("build.txt", "dev.txt"):
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        assert "://" not in text, name
        for entry in re.split(r"\n(?=\w)", text):
            assert re.match(r"[\w.\[\]-]+==\S+", entry), f"{name}: {entry}"
            assert "--hash=sha256:" in entry, f"{name}: {entry}"


def test_links_resolve() -> None:
    """Every link from one page to another file leads somewhere."""
    places: list[str] = []
    for page in (path for path in all_files() if path.suffix == ".md"):
        text = re.sub(r"```.*?```|`[^`\n]*`", blank, page.read_text(encoding="utf-8"), flags=re.S)
        for number, line in enumerate(text.splitlines(), 1):
            for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", line):
                if not re.match(r"\w+:", target) and not (page.parent / target).exists():
                    places.append(f"{page.relative_to(ROOT)}:{number} links to {target}")
    assert not places, "\n" + "\n".join(places)


def blank(match: re.Match[str]) -> str:
    """Keep only the line ends of a piece of code, so that line numbers stay right."""
    return "\n" * match.group().count("\n")
