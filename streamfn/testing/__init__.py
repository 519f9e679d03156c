"""How a user tests a topology: the driver on virtual time, and the pytest plugin.

Each name is loaded when first asked for: pytest loads the plugin in every run.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamfn.testing.driver import TestDriver
    from streamfn.testing.plugin import MakeDriver
    from streamfn.testing.replaying import Replay
    from streamfn.testing.result import ReplayResult

__all__ = ["MakeDriver", "Replay", "ReplayResult", "TestDriver"]

_HOMES = {
    "MakeDriver": "plugin",
    "Replay": "replaying",
    "ReplayResult": "result",
    "TestDriver": "driver",
}

if not TYPE_CHECKING:  # for a type checker, a module with __getattr__ has every name

    def __getattr__(name: str) -> object:
        """Load what is asked for."""
        if name not in _HOMES:
            message = f"module 'streamfn.testing' has no attribute {name!r}"
            raise AttributeError(message)
        found = getattr(import_module(f"streamfn.testing.{_HOMES[name]}"), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        """List all public names, loaded or not."""
        return __all__
