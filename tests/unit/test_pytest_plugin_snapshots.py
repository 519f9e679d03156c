"""Snapshots of replays, as a user's own pytest run sees them."""

import json

import pytest

from tests.unit.plugin_shop import APP, LINES, ROWS, WEEK, Shop, unused_in

pytest_plugins = ["pytester"]


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
    result.assert_outcomes(failed=1)
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
