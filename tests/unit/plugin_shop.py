"""A user's folder for the tests of the pytest plugin: an app, a recording, tests of it."""

import json
import sys
from pathlib import Path
from typing import Final

import pytest

import streamfn.testing.replaying as loaded

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


SHARED: Final = loaded.Replay
"""What this process has loaded, inner runs of pytest need not load again."""


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


def unused_in(result: pytest.RunResult) -> list[str]:
    """The lines about unused snapshots."""
    return [line for line in result.stdout.lines if line.startswith("used by no test")]
