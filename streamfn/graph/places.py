"""Places in the user's program, and the mistakes found there.

Invariant: a place is the user's own line, found by walking the frames out of this package; ready
topologies count as a user's. Mistakes go from here into one ``TopologyError``.
"""

import inspect
import linecache
import re
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

from streamfn.errors import Mistake, TopologyError

_DECORATOR_LINES_MAX: Final = 50


def user_frame() -> FrameType | None:
    """Find the innermost frame that is not streamfn's own; ready topologies count as a user's."""
    frame = inspect.currentframe()
    while frame is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame


def _is_ours(module: str) -> bool:
    if module.startswith("streamfn.topologies"):
        return False
    return module == "streamfn" or module.startswith("streamfn.")


def place(filename: str, line: int) -> str:
    """Write a place as file:line, the file as seen from the working folder."""
    path = Path(filename)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{line}"


def here() -> str:
    """The place of the user's line that is being run."""
    frame = user_frame()
    return "?:0" if frame is None else place(frame.f_code.co_filename, frame.f_lineno)


def function_place(fn: object) -> str:
    """The place of a function's ``def``; of anything else, the line being run."""
    code = getattr(inspect.unwrap(fn) if callable(fn) else fn, "__code__", None)
    if not isinstance(code, CodeType):
        return here()
    first, named = code.co_firstlineno, re.compile(rf"\s*(async\s+)?def\s+{code.co_name}\b")
    for line in range(first, first + _DECORATOR_LINES_MAX):  # it starts at its first decorator
        if named.match(linecache.getline(code.co_filename, line)):
            return place(code.co_filename, line)
    return place(code.co_filename, first)


class Mistakes:
    """What is wrong with a program, as far as seen; each mistake once."""

    def __init__(self, found: tuple[Mistake, ...] = ()) -> None:
        self._found = dict.fromkeys(found)

    def add(self, where: str, wrong: str, got: str, cure: str) -> None:
        """Remember one mistake; told once however often its line is run."""
        self._found[Mistake(where, wrong, got, cure)] = None

    def __bool__(self) -> bool:
        return bool(self._found)

    def copy(self) -> "Mistakes":
        """The same mistakes, for adding more."""
        return Mistakes(tuple(self._found))

    def tell(self) -> None:
        """Raise all mistakes together, in the order of the source, if there are any."""
        if self._found:
            raise TopologyError(_in_order_of_source(list(self._found)))


def _in_order_of_source(mistakes: list[Mistake]) -> list[Mistake]:
    files = list(dict.fromkeys(_file_and_line(mistake)[0] for mistake in mistakes))

    def position(mistake: Mistake) -> tuple[int, int]:
        file, line = _file_and_line(mistake)
        return files.index(file), line

    return sorted(mistakes, key=position)


def _file_and_line(mistake: Mistake) -> tuple[str, int]:
    file, _, line = mistake.where.rpartition(":")
    return file, int(line)
