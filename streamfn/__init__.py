"""Plain Python functions as event-driven stages over Kafka topics, with local state, exactly once.

The public names and nothing else: ``import streamfn as sf``. ``sf.testing`` and ``sf.Results`` are
loaded when first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from streamfn.app import App
from streamfn.dsl.endpoints import Topic
from streamfn.dsl.function import Function
from streamfn.dsl.stream import Stream
from streamfn.dsl.table import Table
from streamfn.errors import (
    ConfigError,
    LogError,
    Mistake,
    SerdeError,
    StageError,
    StateError,
    StopError,
    StreamfnError,
    TopologyError,
)
from streamfn.function.state import Context, Lookup, Map, Outgoing, Store, Value
from streamfn.record import Record
from streamfn.serde import BYTES, FLOAT64, INT32, INT64, JSON, STRING, Serde, msgpack

if TYPE_CHECKING:
    from streamfn import testing
    from streamfn.results import Results

__version__ = "0.1.0"

__all__ = [
    "BYTES",
    "FLOAT64",
    "INT32",
    "INT64",
    "JSON",
    "STRING",
    "App",
    "ConfigError",
    "Context",
    "Function",
    "LogError",
    "Lookup",
    "Map",
    "Mistake",
    "Outgoing",
    "Record",
    "Results",
    "Serde",
    "SerdeError",
    "StageError",
    "StateError",
    "StopError",
    "Store",
    "Stream",
    "StreamfnError",
    "Table",
    "Topic",
    "TopologyError",
    "Value",
    "__version__",
    "msgpack",
    "testing",
]

if not TYPE_CHECKING:  # for a type checker, a module with __getattr__ has every name

    def __getattr__(name: str) -> object:
        """Load what brings the engine only for those who use it."""
        if name == "testing":
            return import_module("streamfn.testing")
        if name == "Results":
            return import_module("streamfn.results").Results
        message = f"module 'streamfn' has no attribute {name!r}"
        raise AttributeError(message)
