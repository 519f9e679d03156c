"""How the flights are shown: tables of delays, a chart of the day at each airport, dead letters.

What comes in was read from the stores and topics of the run; it goes to the terminal, or as plain
text into a pipe. Invariant: nothing is wider than 80 columns.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import streamfn as sf

BAR_WIDTH = 14
SHADES = "▁▂▃▄▅▆▇█"


class Delays(Protocol):
    """What is known of a group of flights."""

    @property
    def name(self) -> str:
        """What the group is called."""
        ...

    @property
    def planned(self) -> int:
        """Flights of the timetable."""
        ...

    @property
    def left(self) -> int:
        """Those of them that left."""
        ...

    @property
    def minutes(self) -> int:
        """Their minutes of delay, together."""
        ...


def show(
    carriers: Iterable[Delays],
    weathers: Iterable[Delays],
    departures: Mapping[tuple[str, str], int],
    letters: "Iterable[sf.Record[bytes | None, bytes | None]]",
) -> None:
    """Print all of it."""
    console = Console(highlight=False)
    width = min(console.width, 80)
    tables = (
        delay_table("Delay by carrier", "carrier", carriers),
        delay_table("Delay by weather", "weather", weathers),
        day_chart(departures),
        letter_table(list(letters)),
    )
    for table in tables:
        console.print()
        console.print(table, width=width)


def new_table(title: str) -> Table:
    """An empty table in the style of all of them."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )


def delay_table(title: str, group: str, delays: Iterable[Delays]) -> Table:
    """One line a group: how many flights, how many cancelled, how late; the latest first."""
    table = new_table(title)
    table.add_column(group, no_wrap=True)
    for column in ("flights", "cancelled", "late (min)"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", width=BAR_WIDTH, no_wrap=True)
    means = {each.name: each.minutes / (each.left or 1) for each in delays}
    worst = max(means.values(), default=1.0)
    for each in sorted(delays, key=lambda each: -means[each.name]):
        mean, cancelled = means[each.name], 1 - each.left / each.planned
        line = (each.name, f"{each.planned:,}", f"{cancelled:.1%}", f"{mean:.1f}")
        table.add_row(*line, Text(bar(mean / worst), style="yellow"))
    return table


def bar(share: float) -> str:
    """A bar that is full at 1, to the half of a character."""
    halves = round(max(share, 0.0) * BAR_WIDTH * 2)
    return "█" * (halves // 2) + "▌" * (halves % 2)


def day_chart(departures: Mapping[tuple[str, str], int]) -> Table:
    """One line an airport: departures a day in each hour, low to high."""
    days = len({hour[:10] for _, hour in departures}) or 1
    by_hour = Counter[tuple[str, int]]()
    for (airport, hour), count in departures.items():
        by_hour[airport, int(hour[11:])] += count
    hours = sorted({hour for _, hour in by_hour})
    most = max(by_hour.values(), default=1)
    table = new_table("Departures by airport and hour of the day (New York time)")
    table.add_column("")
    table.add_column("".join(f"{hour:>3}" for hour in hours), no_wrap=True)
    table.add_column("a day", justify="right")
    for airport in sorted({airport for airport, _ in by_hour}):
        counts = [by_hour[airport, hour] for hour in hours]
        strip = "".join(f" {shade(count / most) * 2}" for count in counts)
        table.add_row(airport, Text(strip, style="cyan"), f"{sum(counts) / days:.0f}")
    return table


def shade(share: float) -> str:
    """A character as high as the share; none for nothing."""
    return SHADES[min(int(share * len(SHADES)), len(SHADES) - 1)] if share else " "


def letter_table(letters: "list[sf.Record[bytes | None, bytes | None]]") -> Table:
    """One line a dead letter: where it was read, and what is wrong with it."""
    table = new_table(f"Dead letters: {len(letters)} rows that make no sense")
    table.add_column("read from", no_wrap=True)
    table.add_column("what is wrong")
    for letter in letters:
        facts = {name.removeprefix("streamfn."): text.decode() for name, text in letter.headers}
        if "line" in facts:
            where = f"{facts['feed']}, line {facts['line']}"
        else:
            where = f"{facts['topic']}[{facts['partition']}] at {facts['offset']}"
        table.add_row(where, facts["message"])
    return table
