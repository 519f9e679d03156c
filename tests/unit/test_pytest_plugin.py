"""The fixture ``replay`` and its snapshots, as a user's own pytest run sees them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import streamfn.testing.replaying as replaying  # loaded once: inner runs of pytest share it

pytest_plugins = ["pytester"]

APP: Final = """
import msgspec
import streamfn as sf


class Order(msgspec.Struct):
    customer: str
    amount: float


class Spent(msgspec.Struct, frozen=True):
    orders: int = 0
    amount: float = 0.0


def fraction(order):
    return 1 / order.amount


app = sf.App("shop")
orders = app.topic("orders", key=str, value=Order)
totals = app.topic("totals", key=str, value=Spent)
shares = app.topic("shares", key=str, value=float)
by_customer = app.stream(orders).key_by(lambda order: order.customer)


@app.function(by_customer, to=totals)
def spend(order: Order, total: sf.Value[Spent]) -> Spent:
    total.value = Spent(total.value.orders + 1, total.value.amount + order.amount)
    return total.value


@app.function(app.stream(orders), to=shares)
def share(order: Order) -> float:
    return fraction(order)
"""
ROWS: Final = (("ann", 20.0), ("bob", 5.0), ("ann", 2.5), ("cyd", 8.0))
MODULES: Final = ("shop", "before", "after")
"""Pytest imports them anew in each inner run."""
WEEK: Final = """
from shop import app, orders, shares, spend, totals

def test_week(replay):
    replay("recordings/week.jsonl", app).check()
"""
LINES: Final = """\
{"streamfn_snapshot": 1, "application": "shop", "first": 500}
{"topic": "shares", "partition": 0, "time": "2024-11-14T09:00:00.000Z", "key": "o-0", "value": 0.05}
{"topic": "shares", "partition": 0, "time": "2024-11-14T09:00:01.000Z", "key": "o-1", "value": 0.2}
{"topic": "shares", "partition": 0, "time": "2024-11-14T09:00:02.000Z", "key": "o-2", "value": 0.4}
{"topic": "shares", "partition": 0, "time": "2024-11-14T09:00:03.000Z", "key": "o-3", "value": 0.125}
{"topic": "totals", "partition": 0, "time": "2024-11-14T09:00:00.000Z", "key": "ann", "value": {"orders": 1, "amount": 20.0}}
{"topic": "totals", "partition": 0, "time": "2024-11-14T09:00:01.000Z", "key": "bob", "value": {"orders": 1, "amount": 5.0}}
{"topic": "totals", "partition": 0, "time": "2024-11-14T09:00:02.000Z", "key": "ann", "value": {"orders": 2, "amount": 22.5}}
{"topic": "totals", "partition": 0, "time": "2024-11-14T09:00:03.000Z", "key": "cyd", "value": {"orders": 1, "amount": 8.0}}
{"store": "spend-total", "partition": 0, "key": "ann", "value": {"orders": 2, "amount": 22.5}}
{"store": "spend-total", "partition": 0, "key": "bob", "value": {"orders": 1, "amount": 5.0}}
{"store": "spend-total", "partition": 0, "key": "cyd", "value": {"orders": 1, "amount": 8.0}}
"""  # noqa: E501 (lines of a snapshot)


class Shop:
    """A user's folder: an app, a recording written by hand, tests."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester, self.path = pytester, pytester.path
        pytester.makeini("[pytest]\naddopts = --import-mode=importlib\npythonpath = .")
        pytester.makepyfile(shop=APP)
        self.record(*ROWS)
        self.test(WEEK)

    def record(self, *rows: tuple[str, object]) -> None:
        """Write the recording."""
        lines: list[object] = [{"streamfn_recording": 1, "application": "shop"}]
        for at, (customer, amount) in enumerate(rows):
            value = {"customer": customer, "amount": amount}
            time_ms = 1_731_574_800_000 + 1000 * at
            record = {"topic": "orders", "timestamp_ms": time_ms, "key": f"o-{at}"}
            lines.append({**record, "value": value})
        folder = self.path / "recordings"
        folder.mkdir(exist_ok=True)
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder / "week.jsonl").write_text(text)

    def test(self, text: str, name: str = "test_shop") -> None:
        """Write a test file."""
        (self.path / f"{name}.py").write_text(text)

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in this process."""
        # The plugin is named, so that these tests run without an installed streamfn too.
        plugins = ("-p", "no:streamfn", "-p", "streamfn.testing.plugin", "-p", "no:cacheprovider")
        for module in [each for each in sys.modules if each in MODULES]:
            del sys.modules[module]
        return self.pytester.runpytest_inprocess(*plugins, "-W", "error", *arguments)

    @property
    def snapshot(self) -> Path:
        """The snapshot of ``test_week``."""
        return self.path / "snapshots/test_shop/test_week.jsonl"


@pytest.fixture
def shop(pytester: pytest.Pytester) -> Shop:
    """Make a user's folder."""
    return Shop(pytester)


def test_snapshot_is_written_only_if_asked(shop: Shop) -> None:
    """Without one the test fails and says how to write it; then it passes, and leaves it alone."""
    result = shop.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *snapshots/test_shop/test_week.jsonl does not exist; it would have 11 lines",
            "E *if this is right: pytest test_shop.py::test_week --streamfn-update",
        ]
    )
    assert not shop.snapshot.parent.exists()
    result = shop.run("--streamfn-update")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["written: snapshots/test_shop/test_week.jsonl"])
    assert shop.snapshot.read_text() == LINES
    assert [path.name for path in shop.snapshot.parent.iterdir()] == ["test_week.jsonl"]
    before = shop.snapshot.stat().st_mtime_ns
    for arguments in ([], ["--streamfn-update"]):
        result = shop.run(*arguments)
        result.assert_outcomes(passed=1)
        assert "streamfn snapshots" not in result.stdout.str()
    assert shop.snapshot.stat().st_mtime_ns == before


def test_difference_names_record_and_field(shop: Shop) -> None:
    """A changed function is shown by record, field, both values and the lines."""
    shop.run("--streamfn-update")
    shop.test(APP.replace("+ order.amount", "+ order.amount * 2"), "shop")
    result = shop.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *test_week.jsonl differs: 7 changed (it has 11 lines, now there are 11)",
            'E * line 6, totals?0? key "ann" at 2024-11-14T09:00:00.000Z: changed',
            "E *   value.amount: 20.0 → 40.0",
            'E * line 10, spend-total?0? key "ann": changed',
            'E * line 7, totals?0? key "bob" at *: changed',
            "E *if this is right: pytest *",
        ]
    )
    said = [line for line in result.stdout.lines if line.startswith("E ")]
    assert len(said) <= 30
    shop.record(*ROWS, *((f"c{at}", 1.0) for at in range(100)))
    result = shop.run()
    result.stdout.fnmatch_lines(
        ["E *differs: 300 extra, 7 changed *", "E *… and 30? more: extra 29?, value.amount 5"]
    )
    assert len([line for line in result.stdout.lines if line.startswith("E ")]) <= 30
    assert shop.snapshot.read_text() == LINES, "a failing test writes nothing"


def test_lacking_and_new_records_are_one_difference_each(shop: Shop) -> None:
    """What follows a record that is gone is not different."""
    shop.run("--streamfn-update")
    shop.record(*ROWS[:3], ("dan", 4.0))
    result = shop.run()
    result.stdout.fnmatch_lines(
        [
            "E *differs: 3 changed*",
            'E * line 5, shares?0? key "o-3" *: changed',
            "E *   value: 0.125 → 0.25",
            'E * line 9, totals?0? key "dan" *: changed',
            'E *   key: "cyd" → "dan"',
        ]
    )
    shop.record(*ROWS[:3])
    result = shop.run()
    result.stdout.fnmatch_lines(
        [
            "E *differs: 3 missing *",
            'E * line 5, shares?0? key "o-3" *: missing',
            'E * 4  shares?0?  "o-2"  0.4',
            'E * - * 5  shares?0?  "o-3"  0.125',
            "E * 6  totals?0?  *",
        ]
    )
    shop.record(*ROWS, ROWS[0])
    shop.run().stdout.fnmatch_lines(["E *differs: 2 extra, 1 changed *", "E *: not expected"])


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        (LINES.replace('"value": 0.2}', '"value": 0.2'), "*line 3: is no line of a snapshot; got*"),
        ("<<<<<<< HEAD\n" + LINES, "*was made otherwise; got <<<<<<< HEAD, now it is {*"),
        ("", "*was made otherwise; got an empty file, now it is {*"),
        (LINES.replace("500", "7", 1), "*was made otherwise; got {*7}, now it is {*500}"),
        (LINES.replace('": ', '":'), "*was made otherwise*"),
        (LINES.replace('"key": ', '"key":', 1), "*differs: only in how it is written*"),
    ],
)
def test_spoiled_snapshot(shop: Shop, spoiled: str, said: str) -> None:
    """A snapshot that was edited, or merged badly, is named with its line."""
    shop.snapshot.parent.mkdir(parents=True)
    shop.snapshot.write_text(spoiled)
    result = shop.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E {said}"])


def test_line_ends_of_git_do_not_matter(shop: Shop) -> None:
    """A checkout with other line ends is the same snapshot."""
    shop.snapshot.parent.mkdir(parents=True)
    shop.snapshot.write_bytes(LINES.replace("\n", "\r\n").encode())
    shop.run().assert_outcomes(passed=1)


def test_options_change_nothing(shop: Shop) -> None:
    """Workers, commits and where state lives are no part of a snapshot; each check has its own."""
    shop.test(
        """
from shop import app, spend

def test_week(replay):
    for options in ({}, {"workers": 3}, {"commit_interval_ms": 0}, {"in_memory": False}):
        replay("recordings/week.jsonl", app, end_to_end=True, **options).check()
    replay("recordings/week.jsonl", app).check("named", first=2)
"""
    )
    shop.run("--streamfn-update").assert_outcomes(passed=1)
    shop.run().assert_outcomes(passed=1)
    found = {path.name: path.read_text() for path in shop.snapshot.parent.iterdir()}
    named = found.pop("test_week.named.jsonl").splitlines()
    assert found.keys() == {f"test_week{number}.jsonl" for number in ("", ".2", ".3", ".4")}
    assert set(found.values()) == {LINES}
    assert named[1:3] == LINES.splitlines()[1:3]
    assert json.loads(named[3]).keys() == {"topic", "records", "sha256"}
    assert json.loads(named[3])["records"] == "3 to 4"
    assert len(named) == 1 + 3 * 3


def test_sums_stand_for_what_is_not_written_out(shop: Shop) -> None:
    """A difference behind the first records is found, and said where to look."""
    shop.test(WEEK.replace(".check()", ".check(first=2)"))
    shop.run("--streamfn-update").assert_outcomes(passed=1)
    shop.record(*ROWS[:3], ("cyd", 9.0))
    shop.run().stdout.fnmatch_lines(
        ["E *shares, records 3 to 4 (check(first=…) would write them out): changed", "E *sha256: *"]
    )


def test_unused_snapshots_are_named(shop: Shop) -> None:
    """Those of tests and files that are gone, and of checks that do not happen any more."""
    shop.test(WEEK + WEEK[WEEK.index("def") :].replace("week(", "old("))
    shop.test(WEEK, "test_gone")
    shop.run("--streamfn-update").assert_outcomes(passed=3)
    (shop.path / "test_gone.py").unlink()
    foreign = shop.snapshot.with_name("foreign.jsonl")
    foreign.write_text('{"of": "another tool"}\n')
    shop.test(WEEK)
    gone = [
        "used by no test, delete: snapshots/test_gone/test_week.jsonl",
        "used by no test, delete: snapshots/test_shop/test_old.jsonl",
    ]
    assert unused_in(shop.run()) == gone
    assert unused_in(shop.run("-k", "nothing")) == gone
    assert unused_in(shop.run("test_shop.py::test_week")) == gone[:1], "not all tests are known"
    assert unused_in(shop.run("--collect-only")) == []
    shop.test(WEEK.replace(".check()", ""))
    week = "used by no test, delete: snapshots/test_shop/test_week.jsonl"
    assert unused_in(shop.run()) == [*gone, week]
    shop.test(WEEK.replace("replay(", "assert not replay(", 1).replace(".check()", ""))
    assert unused_in(shop.run()) == gone, "a test that failed may not have come to its check"


def unused_in(result: pytest.RunResult) -> list[str]:
    """The lines about unused snapshots."""
    return [line for line in result.stdout.lines if line.startswith("used by no test")]


def test_raising_function_fails_the_test(shop: Shop) -> None:
    """With the user's own traceback, the record and its key; the rest is counted."""
    shop.record(("ann", 20.0), ("bob", 0.0), ("cyd", 0.0))
    result = shop.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '>   *replay("recordings/week.jsonl", app).check()',
            "E * stage 'share' raised ZeroDivisionError: float division by zero",
            "E *   record orders?0? offset 1, 2024-11-14T09:00:01.000Z",
            'E *   key    "o-1"',
            'E *   value  {"customer": "bob", "amount": 0.0}',
            "E * Traceback (most recent call last):",
            'E *   File "*shop.py", line *, in share',
            'E *   File "*shop.py", line *, in fraction',
            "E *     return 1 / order.amount",
            "E * ZeroDivisionError: float division by zero",
            "E * and 1 more: 1 ZeroDivisionError in share",
            "E * if a test expects this: replay(…, raises=True), *",
        ]
    )
    assert "streamfn/testing" not in result.stdout.str(), "our own frames are hidden"


def test_raising_behind_a_repartition_names_the_input(shop: Shop) -> None:
    """The record at hand is internal: what it was made of is shown too."""
    shop.test(APP.replace("total.value.orders + 1", "{}[order.customer]"), "shop")
    shop.run().stdout.fnmatch_lines(
        [
            "E * stage 'spend' raised KeyError: 'ann'",
            "E *   record shop-*repartition?0? offset 0, key *ann*, made of",
            "E *   record orders?0? offset 0, *",
            'E *   value  {"customer": "ann", "amount": 20.0}',
        ]
    )


def test_raised_can_be_expected(shop: Shop) -> None:
    """Then it is in the result, and in the snapshot."""
    shop.record(("ann", 20.0), ("bob", 0.0))
    shop.test(
        """
from shop import app, shares

def test_week(replay):
    result = replay("recordings/week.jsonl", app, raises=True)
    (raised,) = result.raised
    assert (raised.stage, raised.error, raised.offset) == ("share", "ZeroDivisionError", 1)
    assert [record.key for record in result.read(shares)] == ["o-0"]
    result.check()
"""
    )
    shop.run("--streamfn-update").assert_outcomes(passed=1)
    line = '{"raised": "ZeroDivisionError", "message": "float division by zero", '
    line += '"stage": "share", "record": ["orders", 0, 1]}\n'
    assert line in shop.snapshot.read_text()


def test_result_is_decoded(shop: Shop) -> None:
    """Topics by object or name, dead letters, state, counts; what is no output is refused."""
    shop.record(("ann", 20.0), ("bob", "much"), ("ann", 2.5))
    shop.test(APP.replace('App("shop"', 'App("shop", on_error="dead_letter"'), "shop")
    shop.test(
        """
import pytest
import streamfn as sf
from shop import Spent, app, orders, spend, totals

def test_week(replay):
    result = replay("recordings/week.jsonl")
    assert result.records == 3
    assert result.notices == ()
    assert result.read(totals)[-1].value == Spent(2, 22.5)
    assert result.read("totals") == result.read(totals)
    assert result.state(spend, "total") == {"ann": Spent(2, 22.5)}
    assert result.state("spend-total") == result.state(spend)
    (dead,) = result.dead_letters()
    assert dead.key == b"o-1" and b"much" in dead.value
    with pytest.raises(sf.ConfigError, match="'orders' is not written by this app; it writes sh"):
        result.read(orders)
    result.check()
"""
    )
    shop.run("--streamfn-update").assert_outcomes(passed=1)
    (line,) = [each for each in shop.snapshot.read_text().splitlines() if "dead-letters" in each]
    facts = json.loads(line)
    assert facts["key"] == "o-1"
    assert "streamfn.message" in dict(facts["headers"])
    assert "streamfn.failed_at_ms" not in dict(facts["headers"])


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("import shop", "which app is meant; test_shop.py has none; say replay(recording, app)"),
        ("from shop import app, app as same", ""),
        (
            "from shop import app; import streamfn as sf; b = sf.App('b')",
            "test_shop.py has app, b;",
        ),
    ],
)
def test_app_may_be_left_out_if_there_is_one(shop: Shop, head: str, said: str) -> None:
    """One app, under however many names; else the error names what there is."""
    shop.test(f"{head}\ndef test_week(replay):\n    replay('recordings/week.jsonl')\n")
    result = shop.run()
    result.assert_outcomes(**({"failed": 1} if said else {"passed": 1}))
    assert said in result.stdout.str()


def test_errors_of_streamfn_are_short(shop: Shop) -> None:
    """A recording that is not there, or damaged: one line, at the test's own line."""
    (shop.path / "recordings/week.jsonl").write_text("not one\n")
    shop.run().stdout.fnmatch_lines(
        [">   *replay(*", "E *RecordingError: *week.jsonl', line 1: is not the header*"]
    )
    (shop.path / "recordings/week.jsonl").unlink()
    result = shop.run()
    result.stdout.fnmatch_lines(["E *ConfigError: recording '*week.jsonl' does not exist*"])
    assert "replaying.py" not in result.stdout.str()


def test_lists_of_records_are_compared_by_field(shop: Shop) -> None:
    """``==`` of records shows fields rather than a wall of reprs; of others, what pytest does."""
    shop.test(
        """
import streamfn as sf
from shop import app, totals, Spent

def test_records(replay):
    found = replay("recordings/week.jsonl").read(totals)
    other = [*found[:1], sf.Record("bob", Spent(1, 6.0), found[1].timestamp_ms, "totals", 0, 1)]
    assert found == other

def test_others():
    assert [1] == [2]
"""
    )
    result = shop.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "E *assert records differ: 1 changed, 2 extra (expected 2, got 4)",
            'E *record 1, totals?0? key "bob" at *: changed',
            "E *value.amount: 6.0 → 5.0",
            'E *record 2, totals?0? key "ann" *: not expected',
            "E *At index 0 diff: 1 != 2",
        ]
    )


def test_versions_are_compared(shop: Shop) -> None:
    """Two results are the same, or the stage and field is named; fields may be ignored."""
    shop.test(APP, "before")
    shop.test(APP.replace("+ order.amount", "+ order.amount * 1.5"), "after")
    shop.test(
        """
import after, before

WEEK = "recordings/week.jsonl"

def test_same(replay):
    old = replay(WEEK, before.app)
    replay(WEEK, before.app, workers=2).check_same_as(old)
    replay(WEEK, after.app).check_same_as(old, ignore="amount")
    replay(WEEK, after.app).check_same_as(old, tolerance=["amount=12"])

def test_other(replay):
    replay(WEEK, after.app).check_same_as(replay(WEEK, before.app))
"""
    )
    result = shop.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [">   *check_same_as(*", "E *7 of 11 records differ", "E *spend amount changed *"]
    )


def test_driver_still_works(shop: Shop) -> None:
    """The fixture makes drivers, and closes them."""
    shop.test(
        """
from shop import Order, app, orders, shares

def test_driver(driver):
    run = driver(app)
    run.send(orders, Order("ann", 4.0), key="o")
    run.restart()
    assert [record.value for record in run.read(shares)] == [0.25]
"""
    )
    shop.run().assert_outcomes(passed=1)


def test_plugin_is_light() -> None:
    """A run of pytest that does not use streamfn does not load it."""
    heavy = "'streamfn.app', 'streamfn.graph.plan', 'msgspec', 'rocksdict', 'confluent_kafka'"
    program = (
        f"import sys, streamfn.testing.plugin; print([m for m in [{heavy}] if m in sys.modules])"
    )
    root = str(Path(replaying.__file__).parent.parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_workers_of_xdist_share_snapshots(shop: Shop) -> None:
    """Each is written once, unused ones are named once, and nothing half-written stays."""
    pytest.importorskip("xdist")
    week = (
        WEEK[WEEK.index("def") :].replace("(replay", "(replay, n").replace("test_week", "test_many")
    )
    many = '@pytest.mark.parametrize("n", ["a/b", "a:b", "c", "d e"])\n'
    shop.test(f"import pytest\n{WEEK}\n{many}{week}")
    plugins = ["-p", "no:streamfn", "-p", "streamfn.testing.plugin", "-p", "no:cacheprovider"]
    shop.pytester.runpytest_subprocess(
        *plugins, "-n2", "--streamfn-update", "-W", "error"
    ).assert_outcomes(passed=5)
    names = sorted(path.name for path in shop.snapshot.parent.iterdir())
    assert len(names) == 5
    assert all(name.endswith(".jsonl") for name in names)
    shop.test(WEEK)
    result = shop.pytester.runpytest_subprocess(*plugins, "-n2", "-W", "error")
    result.assert_outcomes(passed=1)
    assert len(unused_in(result)) == 4
