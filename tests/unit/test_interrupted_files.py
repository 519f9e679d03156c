"""Ctrl-C while a file is written, at every moment in which Python lets one in.

Invariant: what is left is nothing, or the whole file under its name.
"""

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamfn.errors import ConfigError
from streamfn.replay.output_file import output_file
from streamfn.replay.recordings.files import recording_to
from streamfn.replay.recordings.partial_file import PartialFile
from tests.interrupting import interrupted
from tests.recordings import Row, chunk_of, header_of, records_of

MOMENTS_AT_MOST = 20_000
SOME_ROWS = [Row("a", 0, 0, 5, b"k", b"v"), Row("b", 1, 0, 6, None, None)]


def write_recording(path: Path) -> None:
    """Write a recording."""
    with recording_to(path, header_of(SOME_ROWS)) as writer:
        writer.chunk(chunk_of(SOME_ROWS))


def write_output(path: Path) -> None:
    """Write an output file."""
    with output_file(path) as file:
        file.effects([])


def ignored(_: object) -> None:
    """What is raised while something is collected is no matter here."""


def content(path: Path) -> object:
    """What a file says; an .avro has random marks of its own."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else records_of(path)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("day.jsonl", write_recording),
        ("day.jsonl.zst", write_recording),
        ("day.avro", write_recording),
        ("out.jsonl.gz", write_output),
    ],
)
def test_an_interrupt_at_any_moment(
    name: str, write: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing half-written stays, wherever it came."""
    monkeypatch.setattr(sys, "unraisablehook", ignored)
    write(tmp_path / name)
    whole = content(tmp_path / name)
    (tmp_path / name).unlink()
    left: dict[int, list[str]] = {}
    came = True
    for moment in range(1, MOMENTS_AT_MOST):
        came = interrupted(lambda: write(tmp_path / name), moment)
        if partial := [entry for entry in os.listdir(tmp_path) if entry != name]:
            left[moment] = partial
            (tmp_path / partial[0]).unlink()
        if (tmp_path / name).exists():
            assert content(tmp_path / name) == whole
            (tmp_path / name).unlink()
        if not came:
            break
    assert not came, "more moments than are tried"
    assert left == {}


def test_another_writers_file_is_left(tmp_path: Path) -> None:
    """Who cannot write a file does not remove it either."""
    path = tmp_path / "day.jsonl"
    first = PartialFile(path, overwrite=False)
    with pytest.raises(ConfigError, match="being written by another process"):
        PartialFile(path, overwrite=False)
    assert first.partial.exists()
    first.abandon()
    assert os.listdir(tmp_path) == []


def test_a_file_that_nobody_finished(tmp_path: Path) -> None:
    """A process that ends, however, leaves no partial file if Python itself can end."""
    code = (
        "import sys, pathlib; from streamfn.replay.recordings.partial_file import PartialFile\n"
        "file = PartialFile(pathlib.Path(sys.argv[1]), overwrite=False)\n"
        "assert file.partial.exists(); raise SystemExit(3)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "day.jsonl")], check=False)
    assert done.returncode == 3
    assert os.listdir(tmp_path) == []
