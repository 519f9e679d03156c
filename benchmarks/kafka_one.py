"""``python -m benchmarks.kafka_one [restore]``: one run in a process of its own.

It reads its task as JSON from the standard input, runs one side, verifies, and writes the figures.
Only the modules of that side are loaded before the figures are taken. Invariant: no figures without
verification, and no topic is left behind.
"""

import sys

import msgspec

from benchmarks.kafka_case import LOOP, Figures, Task


def main() -> int:
    """Run the task."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    figures = _run(task, restore=sys.argv[1:] == ["restore"])
    if task.verify:
        from benchmarks.kafka_topics import Topics
        from benchmarks.kafka_verify import verify

        verify(task, Topics(task.broker))
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")
    return 0


def _run(task: Task, *, restore: bool) -> Figures:
    if restore:
        from benchmarks.kafka_restore import run
    elif task.side == LOOP:
        from benchmarks.kafka_loop import run
    else:
        from benchmarks.kafka_product import run
    return run(task)


if __name__ == "__main__":
    sys.exit(main())
