"""Tables of what was measured, for a terminal and for a page; medians, ranges and ratios.

Invariant: a ratio is that of two runs of one round, which stood beside each other.
"""

import os
import statistics
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.kafka_case import LOOP, SIDES, STREAMFN, Case, Figures
from benchmarks.kafka_latency import Latency

TARGET = 0.6
"""Of the loop's records per CPU-second, for the count."""

Results = Mapping[Case, Mapping[str, Sequence[Figures]]]
Rate = Callable[[Figures], float]

HEADINGS = (
    "job", "keys", "p", "side", "k/CPU-s", "range", "k/s", "MB", "of loop", "range", "whole life",
)  # fmt: skip
LATENCY_HEADINGS = ("side", "commit interval", "records", "p50", "p99", "longest")
RESTORE_HEADINGS = ("changelog records", "k/CPU-s", "range", "k/s", "range")


def ratios(
    sides: Mapping[str, Sequence[Figures]], rate: Rate = lambda f: f.per_cpu_s
) -> list[float]:
    """Each round's streamfn / loop, in order of size."""
    runs = zip(sides.get(STREAMFN, ()), sides.get(LOOP, ()), strict=False)
    return sorted(rate(one) / rate(other) for one, other in runs)


def missed(results: Results) -> list[str]:
    """Say which counts are below the target."""
    return [
        f"{case}: {statistics.median(found):.2f} of the loop, target {TARGET}"
        for case, sides in results.items()
        if case.job == "count" and (found := ratios(sides)) and statistics.median(found) < TARGET
    ]


def rows(results: Results) -> list[list[str]]:
    """One row a case and side."""
    found: list[list[str]] = []
    for case, sides in results.items():
        for side in [each for each in SIDES if sides.get(each)]:
            runs = sides[side]
            rates = sorted(each.per_cpu_s / 1e3 for each in runs)
            compared = ["", "", ""] if side == LOOP else _compared(case, sides)
            found.append(
                [
                    case.job, f"{case.keys:,}", str(case.partitions), side,
                    f"{statistics.median(rates):,.0f}", f"{rates[0]:,.0f} to {rates[-1]:,.0f}",
                    f"{statistics.median(each.per_wall_s for each in runs) / 1e3:,.0f}",
                    str(max(each.peak_mb for each in runs)), *compared,
                ]
            )  # fmt: skip
    return found


def _compared(case: Case, sides: Mapping[str, Sequence[Figures]]) -> list[str]:
    found, life = ratios(sides), ratios(sides, lambda figures: figures.per_life_cpu_s)
    if not found:
        return ["", "", ""]
    median = statistics.median(found)
    verdict = "" if case.job != "count" else " ok" if median >= TARGET else " MISSED"
    spread = f"{found[0]:.2f} to {found[-1]:.2f}"
    return [f"{median:.2f}{verdict}", spread, f"{statistics.median(life):.2f}"]


def show(
    console: Console, title: str, headings: Sequence[str], found: Sequence[Sequence[str]]
) -> None:
    """Print a table for people."""
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    table = Table(title=title, caption=f"{os.cpu_count()} cores, load {load}")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right", no_wrap=True)
    for row in found:
        table.add_row(*row)
    console.print(table)


def markdown(title: str, headings: Sequence[str], found: Sequence[Sequence[str]]) -> str:
    """Return the same for a page."""
    lines = [headings, ["---"] * len(headings), *found]
    return "\n".join([f"**{title}**", "", *("| " + " | ".join(line) + " |" for line in lines), ""])


def latency_rows(measured: Mapping[str, Sequence[Latency]]) -> list[list[str]]:
    """One row a side and commit interval."""
    return [
        [
            side, str(each.interval_ms), f"{each.records:,}", f"{each.p50_ms:.1f}",
            f"{each.p99_ms:.1f}", f"{each.longest_ms:.1f}",
        ]
        for side, found in measured.items()
        for each in found
    ]  # fmt: skip


def restore_rows(runs: Sequence[Figures]) -> list[list[str]]:
    """One row: medians of the rounds; no memory, as the process fills the changelog too."""
    wall = sorted(each.per_wall_s / 1e3 for each in runs)
    cpu = sorted(each.per_cpu_s / 1e3 for each in runs)
    spreads = [
        [f"{statistics.median(rates):,.0f}", f"{rates[0]:,.0f} to {rates[-1]:,.0f}"]
        for rates in (cpu, wall)
    ]
    return [[f"{runs[0].records:,}", *spreads[0], *spreads[1]]]
