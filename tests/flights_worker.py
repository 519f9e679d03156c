"""The flights as a process to be killed: ``python -m tests.flights_worker PACKAGE STATE_DIR``.

It prints a line a round: how many records all topics hold by then. With "" for the package it works
on the real data. At the end it closes its output and waits until it is killed, or its input ends.
"""

import os
import sys
from pathlib import Path

from streamfn.run import Run
from tests.flights_support import ends_of, load_app, run


def tell(opened: Run) -> None:
    """Print how far it is."""
    print(sum(ends_of(opened).values()), flush=True)


if __name__ == "__main__":
    package, state_dir = sys.argv[1:]
    app = load_app(Path(package) if package else None)
    run(
        app,
        Path(state_dir),
        tell,
        process_slice_ms=20,
        commit_interval_ms=30,
        store_interval_ms=100,
    )
    os.close(1)  # nothing more is told
    sys.stdin.read()  # whoever is to be killed does not end before
