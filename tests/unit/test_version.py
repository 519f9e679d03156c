"""The version of a program's code: what changes it, and what does not."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from streamfn.graph.code_owner import portable
from streamfn.graph.version import DIGITS, code_version

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = count()

RATES = '''
"""Rates."""

FACTOR = 3
UNUSED = 1

def scaled(amount):
    """Scale an amount."""
    return rounded(amount * FACTOR)

def rounded(amount):
    return round(amount, 2)

def unused(amount):
    return amount
'''

PROGRAM = '''
"""A program."""

import functools
import math
from enum import Enum

import msgspec
import streamfn as sf

import rates

LIMIT = 5
WORDS = {"one", "two", "three"}
SHARES = {"de": 0.19, "fr": 0.2}


class Order(msgspec.Struct):
    """An order."""

    user: str
    amount: float = LIMIT

    def doubled(self):
        """Twice."""
        return self.amount * 2


class Kind(Enum):
    SMALL = 1
    LARGE = 2


class Judge:
    """Judges orders."""

    def __init__(self, at_least):
        self.at_least = at_least

    def __call__(self, order):
        return order.amount > self.at_least


def logged(fn):
    @functools.wraps(fn)
    def call(*given, **named):
        return fn(*given, **named)

    return call


@logged
def share(order):
    return SHARES["de"] * order.amount


def kind_of(order):
    return Kind.LARGE if order.amount > LIMIT else Kind.SMALL


judge = Judge(3)
app = sf.App("orders", on_error="skip")
orders = app.topic("orders", key=str, value=Order, partitions=2)
totals = app.topic("totals", key=str, value=float)
start = sf.Value(20.0)
large = app.stream(orders).filter(judge).filter(lambda order: order.user not in WORDS)
wide, narrow = (lambda order: order.amount > 1, lambda order: order.amount > 2)


@app.function(large.filter(wide).key_by(lambda order: order.user), to=totals)
def total(order: Order, seen: sf.Value[float] = start) -> float:
    """Add up."""
    from rates import scaled

    # what there is
    seen.value += scaled(order.doubled()) + math.floor(share(order))
    if kind_of(order) is Kind.LARGE:
        seen.value += 1
    return seen.value
'''


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Versions":
    """Makes programs and asks for their versions."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return Versions(tmp_path)


class Versions:
    """Writes programs into a folder and imports them anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, program: str = PROGRAM, rates: str = RATES) -> str:
        """The version of a program."""
        sys.modules.pop("rates", None)
        (self.folder / "rates.py").write_text(rates)
        module = self._imported("rates")
        module = self._imported("program", program)
        return code_version(module.app.topology())

    def _imported(self, name: str, text: str | None = None) -> ModuleType:
        path = self.folder / f"{name}_{next(NUMBERS)}.py"  # else an old text may be read
        path.write_text((self.folder / f"{name}.py").read_text() if text is None else text)
        spec = spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Leave no module of ours behind."""
    yield
    for name in ("rates", "program"):
        sys.modules.pop(name, None)


SAME = [
    ("# what there is", "# what there was\n\n"),
    ('"""Add up."""', '"""Adds up what was ordered."""'),
    ('"""Twice."""\n', "\n"),
    ('"""A program."""', "# a program"),
    ('"""Judges orders."""', '"""Says yes or no."""'),
    ("import math\n", "import math\n\n\n\n"),
    ('SHARES["de"] * order.amount', '(SHARES[\n    "de"\n] * order.amount)'),
    ("seen.value += 1", "seen.value   +=  1"),
    ('{"one", "two", "three"}', '{"three", "one", "two"}'),
    ("lambda order: order.user not in WORDS", "lambda order: (order.user not in WORDS)"),
    ("narrow = (lambda order: order.amount > 1, lambda order: order.amount > 2)",
     "narrow = (lambda order: order.amount > 1, lambda order: order.amount > 9)"),
    ("LIMIT = 5", "LIMIT = 5\nOTHER = 6"),
]  # fmt: skip
CHANGED = [
    ("LIMIT = 5", "LIMIT = 6"),
    ("import math\n", "import cmath as math\n"),
    ('"two", "three"', '"two"'),
    ('"de": 0.19', '"de": 0.2'),
    ("return self.amount * 2", "return self.amount * 3"),
    ("user: str", "user: str | None"),
    ("LARGE = 2", "LARGE = 3"),
    ("order.amount > self.at_least", "order.amount >= self.at_least"),
    ("judge = Judge(3)", "judge = Judge(4)"),
    ("return fn(*given, **named)", "return -fn(*given, **named)"),
    ("@logged\ndef share", "def share"),
    ('SHARES["de"] * order.amount', 'SHARES["fr"] * order.amount'),
    ("Kind.LARGE if order.amount > LIMIT", "Kind.LARGE if order.amount < LIMIT"),
    ("order.user not in WORDS", "order.user in WORDS"),
    ("(lambda order: order.amount > 1,", "(lambda order: order.amount > 7,"),
    ("large.filter(wide)", "large.filter(narrow)"),
    ("large.filter(wide)", "large"),
    ("key_by(lambda order: order.user)", "key_by(lambda order: order.user.lower())"),
    ("start = sf.Value(20.0)", "start = sf.Value(21.0)"),
    ("seen.value += 1", "seen.value += 2"),
    ("seen: sf.Value[float] = start", "heard: sf.Value[float] = start, seen=None"),
    ('on_error="skip"', 'on_error="fail"'),
    ('on_error="skip"', 'on_error="dead_letter"'),
    ("math.floor(share", "math.ceil(share"),
]
RATES_CHANGED = [("FACTOR = 3", "FACTOR = 4"), ("amount, 2", "amount, 3")]
RATES_SAME = [("UNUSED = 1", "UNUSED = 2"), ("return amount\n", "return -amount\n")]


def replaced(text: str, change: tuple[str, str]) -> str:
    """Change a program in one place."""
    old, new = change
    assert old in text
    made = text.replace(old, new, 1)
    if "heard" in new:
        made = made.replace("seen.value", "heard.value")
    return made


def test_it_is_short_text(version: Versions) -> None:
    """Twelve hexadecimal digits."""
    found = version()
    assert len(found) == DIGITS
    assert int(found, 16) > 0


@pytest.mark.parametrize("change", SAME, ids=[new[:30] for _, new in SAME])
def test_what_does_nothing_keeps_it(version: Versions, change: tuple[str, str]) -> None:
    """Comments, layout, docstrings, and code that nothing leads to."""
    assert version(replaced(PROGRAM, change)) == version()


@pytest.mark.parametrize("change", CHANGED, ids=[new[:30] for _, new in CHANGED])
def test_what_decides_answers_changes_it(version: Versions, change: tuple[str, str]) -> None:
    """Each place that a function may come to."""
    if "seen=None" in change[1]:
        change = (change[0], "heard: sf.Value[float] = start")
    assert version(replaced(PROGRAM, change)) != version()


@pytest.mark.parametrize("change", RATES_CHANGED, ids=[new for _, new in RATES_CHANGED])
def test_other_modules_of_the_program_count(version: Versions, change: tuple[str, str]) -> None:
    """Also those that are imported while a function runs, and what they refer to."""
    assert version(rates=replaced(RATES, change)) != version()


@pytest.mark.parametrize("change", RATES_SAME, ids=[new for _, new in RATES_SAME])
def test_of_modules_only_what_is_used_counts(version: Versions, change: tuple[str, str]) -> None:
    """What no function comes to decides nothing."""
    changed = version(rates=replaced(RATES, change))
    assert changed == version()


def test_code_without_source_has_a_version_too(version: Versions) -> None:
    """Then its instructions and constants count."""
    versions = []
    for text in (PROGRAM, replaced(PROGRAM, ("seen.value += 1", "seen.value += 2"))):
        version()
        names: dict[str, object] = {"__name__": "program"}
        exec(compile(text, "<made>", "exec"), names)
        versions.append(code_version(names["app"].topology()))  # type: ignore[attr-defined]  # an App
    assert versions[0] != versions[1]


def other_process(folder: Path, target: str, seed: str) -> str:
    """The version that another process comes to."""
    code = (
        "import sys\nfrom streamfn.cli.load import load_app\n"
        "from streamfn.graph.version import code_version\n"
        "print(code_version(load_app(sys.argv[1]).topology()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, target],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_processes_agree(tmp_path: Path) -> None:
    """Whatever their hash seed, and wherever the program lies."""
    found = set[str]()
    for seed, name in enumerate(["here", "there"]):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "program.py").write_text(PROGRAM)
        (folder / "rates.py").write_text(RATES)
        target = "program.py" if name == "here" else str(folder / "program.py")
        where = folder if name == "here" else tmp_path
        found.add(other_process(where, target, str(seed)))
    assert len(found) == 1


def test_a_file_and_its_module_agree() -> None:
    """However the program is named."""
    file = other_process(ROOT, "topologies/flights.py", "1")
    assert file == other_process(ROOT, "streamfn.topologies.flights", "2")


def test_paths_are_written_without_where_they_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A constant that names a file of the program is the same on another machine."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert portable(str(tmp_path / "data" / "rates.csv")) == "data/rates.csv"
    assert portable("/elsewhere/rates.csv") == "/elsewhere/rates.csv"
