"""The determinism lint: what is found, where, by which path, and what is left alone."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import streamfn as sf
from streamfn.graph.determinism import Finding, findings
from tests.unit.cli_shell import Shell, open_shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in an empty folder."""
    with open_shell(tmp_path, monkeypatch) as opened:
        yield opened


HEAD = "import streamfn as sf\n"
FOOT = """
app = sf.App("lint")
source = app.topic("in", key=str, value=str)
out = app.topic("out", key=str, value=str)
app.stream(source).map_values(stage, value=str).to(out)
"""


def findings_of(text: str, name: str = "program.py") -> list[Finding]:
    """Run a program's text as a file of that name and judge it."""
    module = ModuleType("program")
    exec(compile(text, name, "exec"), vars(module))  # a program of these tests
    return findings(module.app.topology())


def found(tmp_path: Path, text: str) -> list[tuple[int, str]]:
    """Judge a program with a function ``stage``; return lines of ``text`` and what was got."""
    file = tmp_path / "program.py"
    file.write_text(HEAD + text + FOOT)
    return [
        (int(each.where.rpartition(":")[2]) - 1, each.got)
        for each in findings_of(file.read_text(), str(file))
    ]


BODIES: list[tuple[str, str, str]] = [
    ("import time", "time.time()", "time.time"),
    ("from time import time as now", "now()", "now"),
    ("import time", "time.monotonic_ns()", "time.monotonic_ns"),
    ("import time", "time.localtime()", "time.localtime"),
    ("import datetime as dt", "dt.datetime.now(dt.UTC)", "dt.datetime.now"),
    ("from datetime import datetime", "datetime.utcnow()", "datetime.utcnow"),
    ("from datetime import date", "date.today()", "date.today"),
    ("import random", "random.random()", "random.random"),
    ("from random import choice", "choice(value)", "choice"),
    ("import random", "random.Random()", "random.Random"),
    ("import random\nRNG = random.Random(5)", "RNG.random()", "RNG.random"),
    ("import uuid", "uuid.uuid4()", "uuid.uuid4"),
    ("from uuid import uuid1", "uuid1()", "uuid1"),
    ("import os", "os.urandom(4)", "os.urandom"),
    ("import secrets", "secrets.token_hex()", "secrets.token_hex"),
    ("", "hash(value)", "hash"),
    ("", "id(value)", "id"),
    ("import os", "os.environ['A']", "os.environ"),
    ("import os", "os.environ.get('A')", "os.environ.get"),
    ("import os", "os.getenv('A')", "os.getenv"),
    ("import os", "os.getpid()", "os.getpid"),
    ("import socket", "socket.gethostname()", "socket.gethostname"),
    ("", "open('a')", "open"),
    ("from pathlib import Path", "Path('a').read_text()", "Path('a').read_text"),
    ("from pathlib import Path\nHOME = Path('a')", "HOME.exists()", "HOME.exists"),
    ("import urllib.request", "urllib.request.urlopen(value)", "urllib.request.urlopen"),
    ("import subprocess", "subprocess.run([])", "subprocess.run"),
    ("import socket", "socket.socket()", "socket.socket"),
    ("import sqlite3", "sqlite3.connect('a')", "sqlite3.connect"),
    ("SEEN = []", "SEEN.append(value)", "SEEN.append"),
    ("SEEN = {}", "SEEN.setdefault(value, 1)", "SEEN.setdefault"),
    ("IDS = iter(range(9))", "next(IDS)", "next(IDS)"),
    ("", "[x for x in {value, 'a'}]", "for … in {value, 'a'}"),
    ("", "','.join(set(value))", "for … in set(value)"),
    ("", "list(set(value) | {'a'})", "for … in set(value) | {'a'}"),
    ("", "(*{value, 'a'},)", "for … in {value, 'a'}"),
    ("", "tuple(frozenset(value).union('a'))", "for … in frozenset(value).union('a')"),
]


@pytest.mark.parametrize(("above", "body", "got"), BODIES)
def test_found_in_a_function(tmp_path: Path, above: str, body: str, got: str) -> None:
    """Each kind of clock, chance and surroundings is found at its line, however it is named."""
    text = f"{above}\ndef stage(value):\n    return str({body})\n"
    assert found(tmp_path, text) == [(above.count("\n") + 3, got)]


@pytest.mark.parametrize(
    "body",
    [
        "    global COUNT\n    COUNT += 1",
        "    SEEN[value] = 1",
        "    del SEEN[value]",
        "    Holder.last = value",
        "    for item in {value, 'a'}:\n        print(item)",
        "    names = set(value)\n    for item in names:\n        print(item)",
    ],
)
def test_statements_are_found(tmp_path: Path, body: str) -> None:
    """Changes of what stands outside, and loops over sets."""
    text = (
        f"COUNT = 0\nSEEN = {{}}\nclass Holder: ...\ndef stage(value):\n{body}\n    return value\n"
    )
    assert len(found(tmp_path, text)) == 1


@pytest.mark.parametrize(
    ("above", "body"),
    [
        ("import time\nLOADED = time.time_ns()\ndef unused(): return time.time()", "LOADED"),
        ("import time", "time.strftime('%Y', time.gmtime(5))"),
        ("from datetime import datetime", "datetime.fromisoformat(value)"),
        ("import random", "random.Random(value).random()"),
        ("import random", "(lambda rng: rng.random())(random.Random(5))"),
        ("import uuid", "uuid.uuid5(uuid.NAMESPACE_DNS, value)"),
        ("LIMITS = {'a': 1}", "LIMITS.get(value)"),
        ("from pathlib import Path", "Path(value).name"),
        ("from urllib.parse import quote", "quote(value)"),
        ("import hashlib", "hashlib.sha256(value.encode()).hexdigest()"),
        ("", "sorted({value, 'a'})"),
        ("", "sorted(x + 'b' for x in set(value))"),
        ("", "len(list(set(value)))"),
        ("", "[x for x in {1, 2, 3}]"),
        ("", "value in {'a', 'b'}"),
        ("", "{x for x in set(value)}"),
        ("def time(): return 1", "time()"),
        ("import time", "time.time())  # streamfn: deterministic\n    print(value"),
        ("", "[item.append(1) for item in ([],)]"),
    ],
)
def test_what_is_left_alone(tmp_path: Path, above: str, body: str) -> None:
    """What gives the same each time, what no stage reaches, and what is said to be meant."""
    text = f"{above}\ndef stage(value):\n    value = str({body})\n    return value\n"
    assert found(tmp_path, text) == []


def test_local_names_hide_global_ones(tmp_path: Path) -> None:
    """A parameter or variable called ``time`` is not the module."""
    text = "import time\ndef stage(value, *, time=None):\n    open = value\n    return open\n"
    assert found(tmp_path, text) == []


def test_what_is_injected_is_known(tmp_path: Path) -> None:
    """State may be changed, also in place; of a context only the clock on the wall is found."""
    file = tmp_path / "program.py"
    file.write_text(
        HEAD + "import msgspec\n"
        "class Seen(msgspec.Struct):\n"
        "    names: list[str] = []\n"
        "    last: str = ''\n"
        "app = sf.App('lint')\n"
        "s = app.topic('in', key=str, value=Seen)\n"
        "@app.function(s)\n"
        "def f(value: Seen, total: sf.Value[Seen], c: sf.Context[str]) -> None:\n"
        "    total.value.names.append(str(c.now()) + str(c.random.random()) + str(c.uuid()))\n"
        "    total.value.last = c.key\n"
        "    value.names.append('a')\n"
        "    value.last = str(c.now_ms)\n"
    )
    (only,) = findings_of(file.read_text(), str(file))
    assert (only.where.rpartition(":")[2], only.got) == ("13", "c.now_ms")


def test_local_imports_count(tmp_path: Path) -> None:
    """Also of packages that nothing else has imported."""
    text = (
        "def stage(value):\n    import time as t\n    from uuid import uuid4 as make\n"
        "    import notinstalled, requests.api as r\n    notinstalled.get(t.time())\n"
        "    return str(make()) + r.get(value)\n"
    )
    assert found(tmp_path, text) == [(5, "t.time"), (6, "make"), (6, "r.get")]


def test_closures_and_nonlocals(tmp_path: Path) -> None:
    """What a function holds from around it is known; what lies inside it is its own."""
    text = (
        "from time import time\n"
        "def make(clock, seen):\n"
        "    count = 0\n"
        "    def stage(value):\n"
        "        nonlocal count\n"
        "        count += 1\n"
        "        seen.append(clock())\n"
        "        own = 0\n"
        "        def inner():\n"
        "            nonlocal own\n"
        "            own += 1\n"
        "        inner()\n"
        "        return value\n"
        "    return stage\n"
        "stage = make(time, [])\n"
    )
    assert found(tmp_path, text) == [(6, "count = …"), (7, "seen.append"), (7, "clock")]


HELPERS = """
import functools, random, time, uuid
from dataclasses import dataclass, field

def stamp():
    return inner()

def inner():
    return time.time()

def meant():  # streamfn: deterministic
    return time.time()

def logged(fn):
    @functools.wraps(fn)
    def wrapper(*args):
        time.monotonic()
        return fn(*args)
    return wrapper

@functools.lru_cache
def cached(value):
    return random.random()

@dataclass
class Event:
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    def noise(self):
        return random.random()
    @property
    def age(self):
        return time.time()

class Shop:
    def __init__(self):
        self.sold = []
    def sell(self, value):
        self.sold.append(value)

SHOP = Shop()
"""


@pytest.mark.parametrize(
    ("body", "line", "path"),
    [
        ("stamp()", 9, ("stage", "stamp", "inner")),
        ("[stamp for _ in value][0]()", 9, ("stage", "stamp", "inner")),
        ("logged(stamp)(value)", 17, ("stage", "logged")),
        ("cached(value)", 23, ("stage", "cached")),
        ("Event(1).noise()", 29, ("stage", "Event.noise")),
        ("Event(1).age", 32, ("stage", "Event.age")),
        ("SHOP.sell(value)", 38, ("stage", "Shop.sell")),
        ("functools.partial(stamp)()", 9, ("stage", "stamp", "inner")),
        ("max(value, key=lambda x: stamp())", 9, ("stage", "stamp", "inner")),
    ],
)
def test_helpers_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, line: int, path: tuple[str, ...]
) -> None:
    """Functions, methods, properties and wrappers of the project, with the path to them."""
    (tmp_path / "lint_helpers.py").write_text(HELPERS)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    text = HEAD + f"from lint_helpers import *\ndef stage(value):\n    return str({body})\n" + FOOT
    (tmp_path / "program.py").write_text(text)
    told = {
        (each.where.rpartition("lint_helpers.py:")[2], each.path)
        for each in findings_of(text, str(tmp_path / "program.py"))
    }
    monkeypatch.delitem(sys.modules, "lint_helpers")
    assert (str(line), path) in told


def test_default_factories_and_silenced_helpers(tmp_path: Path) -> None:
    """A class whose field is a random id is found where it is made; a meant helper is not."""
    text = HELPERS + "def stage(value):\n    meant()\n    return str(Event())\n"
    last = text.count("\n")
    assert found(tmp_path, text) == [(last, "Event(), whose field 'id' is uuid.uuid4()")]


def test_lambdas_are_told_apart(tmp_path: Path) -> None:
    """Of two lambdas on a line only the one that is wrong is found, in its own stage."""
    file = tmp_path / "program.py"
    file.write_text(
        HEAD + "import time\napp = sf.App('lint')\ns = app.topic('in', key=str, value=str)\n"
        "app.stream(s).filter(lambda v: v > 'a').map_values(lambda v: str(time.time()), value=str)"
        ".filter(lambda v: v > 'b')\n"
    )
    (only,) = findings_of(file.read_text(), str(file))
    assert only.stage.startswith("in-map_values")
    assert only.where.endswith("program.py:5")


def test_every_kind_of_node_is_looked_at(tmp_path: Path) -> None:
    """Aggregates, joins, branches, timers, chosen topics and time extractors too."""
    file = tmp_path / "program.py"
    file.write_text(
        HEAD + "from time import time\nfrom datetime import timedelta\n"
        "app = sf.App('lint')\n"
        "s = app.topic('in', key=str, value=int, timestamp=lambda v: int(time()))\n"
        "stream = app.stream(s)\n"
        "table = stream.group_by_key().aggregate(lambda: int(time()), lambda a, v: a,"
        " value=int)\n"
        "stream.join(table, lambda a, b: a + time(), value=float).peek(print)\n"
        "@app.function(stream)\n"
        "def f(value: int, total: sf.Value[int]) -> None: ...\n"
        "@f.every(timedelta(seconds=1))\n"
        "def tick(total: sf.Store[str, int]) -> None:\n"
        "    time()\n"
    )
    lines = [
        int(each.where.rpartition(":")[2]) for each in findings_of(file.read_text(), str(file))
    ]
    assert sorted(lines) == [5, 7, 8, 13]


def test_code_without_source() -> None:
    """What was never in a file is read from its bytecode."""
    names: dict[str, Any] = {}
    text = (
        "import uuid\nfrom datetime import datetime\nSEEN = []\n"
        "def stage(v):\n    from time import monotonic as m\n    SEEN.append(v)\n"
        "    return [m() for _ in v], datetime.now(), helper()\n"
        "def helper():\n    global COUNT\n    COUNT = 1\n    return uuid.uuid4()\n"
    )
    exec(compile(text, "<program>", "exec"), names)  # a program of this test
    app = sf.App("lint")
    source = app.topic("in", key=str, value=str)
    app.stream(source).map_values(names["stage"], value=str)
    told = {(each.where.rpartition(":")[2], each.got) for each in findings(app.topology())}
    assert {("6", "SEEN.append"), ("10", "COUNT = …"), ("11", "uuid.uuid4")} <= told
    # One of a kind is told of a line; from Python 3.12 on the comprehension is in line, and first.
    assert told & {("7", "datetime.now"), ("7", "m")}
    assert len(told) == 5


def test_imports_without_source() -> None:
    """Also where Python stores one name and loads another in one instruction."""
    names: dict[str, Any] = {}
    text = "def stage(x):\n    import time as t, random\n    return x, t.time(), random.random()\n"
    exec(compile(text, "<program>", "exec"), names)  # a program of this test
    app = sf.App("lint")
    source = app.topic("in", key=str, value=str)
    app.stream(source).map_values(names["stage"], value=str)
    assert {each.got for each in findings(app.topology())} == {"t.time", "random.random"}


def test_the_topologies_here_are_deterministic() -> None:
    """The ready programs pass their own check."""
    from streamfn.topologies import flights, flights_joined, hourly_departures, wordcount

    for module in (flights, flights_joined, hourly_departures, wordcount):
        assert findings(module.app.topology()) == []


# the command
def test_describe_check(shell: Shell) -> None:
    """Findings are told like errors, with exit code 1; without any the exit code is 0."""
    program = HEAD + "import time\ndef stage(value):\n    return str(time.time())\n" + FOOT
    Path("noisy.py").write_text(program)
    result = shell("describe", "noisy.py", "--check", code=1)
    assert (
        "noisy.py:4: stage 'in-map_values-stage' reads the clock (in stage); got time.time; use"
        in (result.stderr.replace("\n", " "))
    )
    (only,) = json.loads(shell("describe", "noisy.py", "--check", "--json", code=1).stdout)
    assert (only["where"], only["path"]) == ("noisy.py:4", ["stage"])
    Path("calm.py").write_text(program.replace("time.time()", "value"))
    assert "nothing found" in shell("describe", "calm.py", "--check").stdout
    assert json.loads(shell("describe", "calm.py", "--check", "--json").stdout) == []
    shell("describe", "calm.py", "--check", "--mermaid", code=2)
