"""The fixture ``replay``, as a user's own pytest run sees it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import streamfn.testing.plugin as plugin
from tests.unit.plugin_shop import APP, Shop

pytest_plugins = ["pytester"]


@pytest.fixture
def shop(pytester: pytest.Pytester) -> Shop:
    """Make a user's folder."""
    return Shop(pytester)


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
    result = shop.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
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
    assert "streamfn/testing" not in result.stdout.str()


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
    root = str(Path(plugin.__file__).parent.parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
