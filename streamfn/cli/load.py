"""Finds the App that a command line names: ``FILE.py[:app]`` or ``package.module[:app]``.

A file is imported as Python itself would run it, its folder first on ``sys.path``; a module is
looked for in the working folder too. Invariant: whatever a user's program does while it is
imported, the user gets one line with file:line, never a traceback through streamfn.
"""

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from streamfn.errors import StreamfnError

if TYPE_CHECKING:
    from streamfn.app import App

TARGET_HELP = "FILE.py[:app] or package.module[:app]"


class LoadError(StreamfnError):
    """The program cannot be loaded, or is not there."""

    exit_code = 3


def load_app(target: str) -> "App":
    """Import a program and return its App.

    Raises:
        LoadError: there is none, there are several, or it cannot be imported.
    """
    place, name = _split(target)
    if not place:
        message = f"no program is named; got {target!r}; give {TARGET_HELP}"
        raise LoadError(message)
    module = _import_file(Path(place)) if _is_file(place) else _import_module(place)
    return _pick(module, place, name)


def _split(target: str) -> tuple[str, str]:
    """Part ``place:app``; a path may hold colons of its own."""
    place, colon, name = target.rpartition(":")
    if colon and (name.isidentifier() or not name):
        return place, name
    return target, ""


def _is_file(place: str) -> bool:
    return place.endswith((".py", ".")) or os.sep in place or Path(place).is_file()


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = Path(f"{path}.py")
        hint = f"did you mean {str(near)!r}?" if near.is_file() else "look at its path"
        got = "a folder" if path.is_dir() else "no such file"
        message = f"program {str(path)!r} cannot be read; got {got}; {hint}"
        raise LoadError(message)
    _check_readable(path)
    path = path.resolve()
    sys.path.insert(0, str(path.parent))
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        message = (
            f"program {str(path)!r} is not Python; got suffix {path.suffix!r}; give a .py file"
        )
        raise LoadError(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up there, and siblings may import it back
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _broken(_shown(path), error) from error
    return module


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        message = (
            f"program {str(path)!r} cannot be read; got {error.strerror}; change its permissions"
        )
        raise LoadError(message) from error


def _module_name(path: Path) -> str:
    """The file's own name, unless that is taken or no name."""
    name = path.stem
    free = name not in sys.modules and name not in sys.stdlib_module_names
    return name if name.isidentifier() and free else f"_program_{name}"


def _import_module(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            message = (
                f"program {name!r} is not found; got no module {error.name!r} here or among the "
                "installed ones; give FILE.py, or package.module"
            )
            raise LoadError(message) from error
        raise _broken(name, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _broken(program: str, error: BaseException) -> StreamfnError:
    """Say in one line why a program cannot be imported; streamfn's own errors say it themselves."""
    if isinstance(error, StreamfnError):
        return error
    if isinstance(error, SyntaxError):
        where = f"{_shown(Path(error.filename or program))}:{error.lineno}"
        message = f"program {program!r} cannot be read; got {error.msg} at {where}; mend that line"
        return LoadError(message)
    what, cure = f"{type(error).__name__}: {error}", "mend that line"
    if isinstance(error, ModuleNotFoundError):
        what, cure = str(error), "install it, or mend the import"
    elif isinstance(error, SystemExit):
        what, cure = "a call of exit", 'put it under if __name__ == "__main__":'
    what = " ".join(what.split())
    message = f"program {program!r} cannot be imported; got {what} at {_line_of(error)}; {cure}"
    return LoadError(message)


def _line_of(error: BaseException) -> str:
    """The innermost line of the program itself: not of a library that it called."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith("<") and not _is_library(f.filename)]
    return f"{_shown(Path(own[-1].filename))}:{own[-1].lineno}" if own else "its beginning"


def _is_library(filename: str) -> bool:
    package = str(Path(__file__).parent.parent)
    ours = filename.startswith(package) and f"{package}{os.sep}topologies" not in filename
    standard = filename.startswith((os.path.dirname(os.__file__), sys.base_prefix + os.sep + "lib"))
    return ours or standard or "site-packages" in filename


def _shown(path: Path) -> str:
    """A path as seen from the working folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _pick(module: ModuleType, place: str, name: str) -> "App":
    from streamfn.app import App

    apps = {key: value for key, value in vars(module).items() if isinstance(value, App)}
    names = ", ".join(apps)
    if name:
        if name in apps:
            return apps[name]
        got = f"a {type(getattr(module, name)).__name__}" if hasattr(module, name) else "nothing"
        cure = f"its apps are {names}" if apps else "make one: app = sf.App('name')"
        message = f"{name!r} of {place!r} is not an App; got {got}; {cure}"
        raise LoadError(message)
    if len({id(app) for app in apps.values()}) == 1:
        return next(iter(apps.values()))
    if apps:
        which = f"{place}:{next(iter(apps))}"
        message = f"program {place!r} has several apps; got {names}; say which: {which}"
        raise LoadError(message)
    message = (
        f"program {place!r} has no App; got none at module level; make one: app = sf.App('name')"
    )
    raise LoadError(message)
