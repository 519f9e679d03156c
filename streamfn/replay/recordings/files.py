"""Opens and creates recording files; the name's end says which format it is.

Records come from a file and go to a replay, or come from ``record`` and go to a file. Invariant:
what has the final name is whole.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streamfn.errors import ConfigError
from streamfn.replay.recording import Header
from streamfn.replay.recordings.avro_file import AvroFile
from streamfn.replay.recordings.avro_write import AvroEncoder
from streamfn.replay.recordings.file_inputs import FileInputs, Format
from streamfn.replay.recordings.file_writer import Encoder, FileWriter
from streamfn.replay.recordings.jsonl_read import JsonlFile
from streamfn.replay.recordings.jsonl_write import JsonlEncoder
from streamfn.replay.recordings.partial_file import PartialFile

SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".avro")


def open_recording(path: str | Path) -> FileInputs:
    """Open a recording; ``close`` it after the last pass.

    Raises:
        ConfigError: It is not there, cannot be read, or its name ends in none of ``SUFFIXES``.
        RecordingError: It is damaged, cut short, foreign, or of a newer version.
    """
    path = Path(path)
    _check_there(path)
    kind: Callable[[Path], Format] = AvroFile if _suffix(path) == ".avro" else JsonlFile
    return FileInputs(kind(path))


def create_recording(path: str | Path, header: Header, *, overwrite: bool = False) -> FileWriter:
    """Begin a recording; nothing bears its name before ``finish``.

    Raises:
        ConfigError: It exists, cannot be written, or its name ends in none of ``SUFFIXES``.
    """
    path = Path(path)
    kind: Callable[[PartialFile], Encoder]
    kind = AvroEncoder if _suffix(path) == ".avro" else JsonlEncoder
    file = PartialFile(path, overwrite=overwrite)
    try:
        return FileWriter(file, kind(file), header)
    except BaseException:
        file.abandon()
        raise


@contextmanager
def recording_to(
    path: str | Path, header: Header, *, overwrite: bool = False
) -> Generator[FileWriter]:
    """Write a recording: finished at the end of the block, removed if that raises."""
    writer = create_recording(path, header, overwrite=overwrite)
    try:
        yield writer
        writer.finish()
    finally:
        writer.abandon()


def _suffix(path: Path) -> str:
    """Find the end of the name that says the format."""
    name = path.name.lower()
    found = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    if found is None:
        known = ", ".join(SUFFIXES)
        message = f"recording {str(path)!r} has no known ending; name it with one of {known}"
        raise ConfigError(message)
    return found


def _check_there(path: Path) -> None:
    """Tell early and plainly why a file cannot be opened."""
    wrong = ""
    try:
        if path.is_dir():
            wrong = "is a folder; name a file in it"
        elif path.exists() and not path.is_file():
            wrong = "is no regular file; it is read more than once: write it to a file first"
        else:
            path.open("rb").close()
    except FileNotFoundError:
        wrong = "does not exist; check the path"
    except OSError as error:
        wrong = f"cannot be opened; got {error.strerror or error}; check its rights"
    if wrong:
        message = f"recording {str(path)!r} {wrong}"
        raise ConfigError(message)
