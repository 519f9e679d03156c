"""A program with every kind of injected parameter, and records for it: for the debugger's tests."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
from rich.console import Console

import streamfn as sf
from streamfn.cli.debugger import debug
from streamfn.graph.topology import Topology
from tests.replay_world import MemoryInputs, placed


class Total(msgspec.Struct):
    """A value that is changed in place."""

    amount: int = 0
    last: str = ""


@dataclass
class Shop:
    """Sales of articles with prices; ``wrong`` is an amount that the function refuses."""

    wrong: int = -1
    app: Any = field(init=False)
    called: list[Any] = field(default_factory=list[Any])
    """What makes the function depend on more than it gets, if somebody fills it."""

    def __post_init__(self) -> None:
        self.app = app = sf.App("shop")
        self.sales: Any = app.topic("sales", key=str, value=int, partitions=2)
        prices: Any = app.topic("prices", key=str, value=int, partitions=2)
        self.out: Any = app.topic("out", key=str, value=str)
        self.alarms: Any = app.topic("alarms", key=str, value=str)
        table: Any = app.table(prices)
        shop = self

        def sell(
            amount: int,
            total: sf.Value[Total],
            days: sf.Map[str, list[int]],
            seen: sf.Store[str, int],
            context: sf.Context[str],
            price: sf.Lookup[str, int] = table,
        ) -> Iterator[Any]:
            if amount == shop.wrong:
                message = f"no {amount}"
                raise ValueError(message)
            total.value.amount += amount
            total.value.last = str(context.uuid())[:8]
            day = days.get("today") or []
            day.append(amount)
            days["today"] = day
            seen[context.key] = len(day) + sum(shop.called)
            cost = (price.get(context.key) or 0) * amount
            if cost > 7:
                context.emit(shop.alarms.record(key=context.key, value=f"{cost}"))
            yield shop.out.record(key=context.key, value=f"{total.value.amount}")
            amount += context.random.randrange(9)
            yield shop.out.record(key=context.key, value=f"{amount}")

        self.sell = app.function(self.sales, to=(self.out, self.alarms))(sell)

        def tidy(seen: sf.Store[str, int], context: sf.Context) -> Iterator[Any]:
            for key, count in seen.items():
                if count > 1:
                    seen[key] = 0
                    yield shop.alarms.record(key=key, value=f"tidied at {context.timestamp_ms}")

        self.sell.every(timedelta(milliseconds=40))(tidy)
        text: Any = app.stream(self.sales).map_values(lambda amount: f"sold {amount}", value=str)
        text.filter(lambda text: "3" in text).to(self.alarms)

    @property
    def topology(self) -> Topology:
        """The program."""
        made: Topology = self.app.topology()
        return made


def sales(count: int = 24, keys: Sequence[str] = "abc", rows_max: int = 5) -> MemoryInputs:
    """Prices, then sales of each article in turn, every 5 ms."""
    sent = [
        ("prices", key.encode(), str(number + 1).encode(), 0) for number, key in enumerate(keys)
    ]
    for number in range(count):
        key = keys[number * 5 // 3 % len(keys)]
        sent.append(("sales", key.encode(), str(number % 11).encode(), 5 * number))
    return MemoryInputs(placed(sent, 2), {"sales": 2, "prices": 2}, rows_max)


def session(
    topology: Topology, inputs: MemoryInputs, *commands: str, stage: str = "sell", key: str = "a",
    interactive: bool = True, **manner: Any,
) -> str:  # fmt: skip
    """Run the debugger with commands; return all that it printed."""
    out = io.StringIO()
    console = Console(file=out, width=160, highlight=False, markup=False, emoji=False)
    feed = io.StringIO("\n".join(commands))
    code = debug(
        topology, inputs, stage=stage, key=key, interactive=interactive, commands=feed,
        console=console, **manner,
    )  # fmt: skip
    assert code == 0
    return out.getvalue()
