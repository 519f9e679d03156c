"""Whose code something is: the program's own, or a library's, which its version stands for.

Modules come from what a program refers to. Invariant: the answer, and each text made here, is the
same wherever the program is installed.
"""

import os
import sys
import sysconfig
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Final

_LIBRARIES: Final = ("stdlib", "platstdlib", "purelib", "platlib")
READY: Final = "streamfn.topologies"
"""Ready programs: they count as a user's."""


@cache
def _library_folders() -> tuple[str, ...]:
    found = {os.path.realpath(sysconfig.get_path(name)) for name in _LIBRARIES}
    return tuple(sorted(f"{folder}{os.sep}" for folder in found))


def is_library(module: str, own: frozenset[str] = frozenset()) -> bool:
    """True if a module is no part of the program; ``own``: packages that are, though installed."""
    top = module.partition(".")[0]
    if top == "streamfn":
        return not (module == READY or module.startswith(f"{READY}."))
    if module == "__main__" or top in own:
        return False
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return True
    file = file_of(sys.modules.get(module) or sys.modules.get(top))
    if not file:
        return module not in sys.modules or top not in sys.modules
    real = os.path.realpath(file)
    return real.startswith(_library_folders()) or "site-packages" in real


def file_of(module: ModuleType | None) -> str:
    """The file of a module, if it has one."""
    return getattr(module, "__file__", None) or ""


@cache
def release(module: str) -> str:
    """The distribution that a library's module is of, with its version; Python's own have none.

    >>> release("json.decoder")
    ''
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return ""
    if top == "streamfn":
        return f"streamfn {sys.modules['streamfn'].__version__}"
    try:
        return f"{top} {metadata.version(top)}"
    except metadata.PackageNotFoundError:
        names = sorted(set(metadata.packages_distributions().get(top, ())))
        return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def portable(path: str) -> str:
    """Write a path without the folder that the program was installed in."""
    roots = [f"{os.path.abspath(entry)}{os.sep}" for entry in sys.path]
    found = max((root for root in roots if path.startswith(root)), key=len, default="")
    return path[len(found) :]


def packages_at(files: frozenset[str]) -> frozenset[str]:
    """The top packages of the modules that were read from some files."""
    wanted = {os.path.realpath(file) for file in files}
    modules = list(sys.modules.items())
    found = {
        name.partition(".")[0]
        for name, module in modules
        if (file := file_of(module)) and os.path.realpath(file) in wanted
    }
    return frozenset(found - {"streamfn"})
