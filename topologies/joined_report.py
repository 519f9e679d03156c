"""How the joined flights are shown: delays by weather and airline, planes by airport and maker.

What comes in was read from the stores and topics of the run. Invariant: nothing is wider than 80
columns.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from rich.console import Console
from rich.table import Table

from streamfn.topologies.flights_report import BAR_WIDTH, bar, delay_table, new_table

SHOWN = 8


class Figures(Protocol):
    """What is known of a group of flights."""

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


class Line(NamedTuple):
    """A line of a table of delays."""

    name: str
    planned: int
    left: int
    minutes: int


def show(
    weathers: Mapping[str, Figures],
    carriers: Mapping[str, Figures],
    planes_at: Mapping[str, int],
    planes_of: Mapping[str, int],
) -> None:
    """Print all of it."""
    console = Console(highlight=False)
    width = min(console.width, 80)
    tables = (
        delay_table("Delay by weather", "weather", lines(weathers)),
        delay_table("Delay by airline", "airline", lines(carriers)),
        most("Where the planes were bound for at last", "airport", planes_at),
        most("Who made them", "maker", planes_of),
    )
    for table in tables:
        console.print()
        console.print(table, width=width)
    console.print(f"\n{sum(planes_at.values()):,} planes have flown")


def lines(groups: Mapping[str, Figures]) -> list[Line]:
    """Groups of flights by their names."""
    return [Line(name, each.planned, each.left, each.minutes) for name, each in groups.items()]


def most(title: str, group: str, planes: Mapping[str, int]) -> Table:
    """One line a group, the largest first."""
    table = new_table(title)
    table.add_column(group, no_wrap=True)
    table.add_column("planes", justify="right")
    table.add_column("", width=BAR_WIDTH, no_wrap=True)
    first = sorted(planes, key=lambda name: (-planes[name], name))[:SHOWN]
    for name in first:
        table.add_row(name, f"{planes[name]:,}", bar(planes[name] / planes[first[0]]))
    return table
