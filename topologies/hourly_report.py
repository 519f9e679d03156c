"""How the hours are shown: the worst hours of the day, the greatest rushes, the longest spells.

What comes in was read from the topics and the store of the run; it goes to the terminal, or as
plain text into a pipe. Invariant: nothing is wider than 80 columns.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table

import streamfn as sf
from streamfn.topologies.flights_report import BAR_WIDTH, bar, new_table

NEW_YORK = ZoneInfo("America/New_York")
SHOWN = 6


class Hour(Protocol):
    """What is known of an hour."""

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


class Spell(Protocol):
    """What is known of a spell of delay."""

    @property
    def flights(self) -> int:
        """How many were late."""
        ...

    @property
    def worst(self) -> int:
        """How late the worst one was."""
        ...


def show(
    hours: Sequence[tuple[sf.Windowed[str], Hour]],
    rushes: Mapping[sf.Windowed[str], int],
    spells: Sequence[tuple[sf.Windowed[str], Spell]],
    too_late: int,
) -> None:
    """Print all of it."""
    console = Console(highlight=False)
    width = min(console.width, 80)
    for table in (by_hour_of_day(hours), busiest(rushes), longest(spells)):
        console.print()
        console.print(table, width=width)
    console.print(f"\n{len(hours):,} hours are final; {too_late} flights came too late for theirs")


def by_hour_of_day(hours: Sequence[tuple[sf.Windowed[str], Hour]]) -> Table:
    """One line an hour of the day, by the clock in New York: how late what left was."""
    left, minutes = defaultdict[int, int](int), defaultdict[int, int](int)
    for window, hour in hours:
        of_day = window.start.astimezone(NEW_YORK).hour
        left[of_day] += hour.left
        minutes[of_day] += hour.minutes
    table = new_table("Delay by hour of the day (New York time)")
    table.add_column("hour", justify="right")
    table.add_column("left", justify="right")
    table.add_column("late (min)", justify="right")
    table.add_column("", width=BAR_WIDTH, no_wrap=True)
    means = {of_day: minutes[of_day] / (left[of_day] or 1) for of_day in sorted(left)}
    most = max(means.values(), default=1.0) or 1.0
    for of_day, mean in means.items():
        table.add_row(f"{of_day}", f"{left[of_day]:,}", f"{mean:.1f}", bar(mean / most))
    return table


def busiest(rushes: Mapping[sf.Windowed[str], int]) -> Table:
    """The three hours of each airport with the most flights."""
    table = new_table("The greatest rush of three hours")
    for column in ("airport", "from", "flights"):
        table.add_column(column, justify="right" if column == "flights" else "left")
    best: dict[str, sf.Windowed[str]] = {}
    for window, count in rushes.items():
        airport = window.key.split()[0]
        if airport not in best or count > rushes[best[airport]]:
            best[airport] = window
    for airport, window in sorted(best.items()):
        table.add_row(airport, moment(window.start), f"{rushes[window]}")
    return table


def longest(spells: Sequence[tuple[sf.Windowed[str], Spell]]) -> Table:
    """The longest spells, whichever airport."""
    table = new_table("The longest spells of delay: an hour or more, without an hour's pause")
    for column in ("airport", "from", "hours", "flights", "worst (min)"):
        table.add_column(column, justify="left" if column in ("airport", "from") else "right")
    first = sorted(spells, key=lambda spell: (spell[0].start_ms - spell[0].end_ms, spell[0].key))
    for window, spell in first[:SHOWN]:
        hours = (window.end - window.start).total_seconds() / 3600 + 1
        airport = window.key.split()[0]
        line = (airport, moment(window.start), f"{hours:.0f}", f"{spell.flights}", f"{spell.worst}")
        table.add_row(*line)
    return table


def moment(at: datetime) -> str:
    """A time by the clock in New York."""
    return f"{at.astimezone(NEW_YORK):%d %b %H:%M}"
