"""Plain Python functions as event-driven stages over Kafka topics, with local state, exactly once.

The public names and nothing else: ``import streamfn as sf``. Each is loaded when first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamfn import testing
    from streamfn.app import App
    from streamfn.dsl.cogrouped import Cogrouped, SessionCogrouped, WindowedCogrouped
    from streamfn.dsl.endpoints import Topic
    from streamfn.dsl.function import Function
    from streamfn.dsl.global_table import GlobalTable
    from streamfn.dsl.grouped import Grouped, SessionStream, WindowedStream
    from streamfn.dsl.grouped_table import GroupedTable
    from streamfn.dsl.stream import Stream
    from streamfn.dsl.table import Table
    from streamfn.dsl.windows import Hopping, JoinWindow, Session, Sliding, Tumbling, Unlimited
    from streamfn.errors import (
        ConfigError,
        LogError,
        Mistake,
        RegistryError,
        SerdeError,
        StageError,
        StateError,
        StopError,
        StreamfnError,
        TopologyError,
    )
    from streamfn.function.state import Context, Lookup, Map, Outgoing, Store, Value
    from streamfn.record import Record
    from streamfn.results import Results
    from streamfn.serde import (
        BYTES,
        FLOAT64,
        INT32,
        INT64,
        JSON,
        STRING,
        Serde,
        msgpack,
        time_windowed,
    )
    from streamfn.serde.avro import avro
    from streamfn.serde.avro_registry import SchemaRegistry
    from streamfn.serde.faust_records import faust_codec
    from streamfn.serde.protobuf_messages import protobuf
    from streamfn.windowed import Windowed

__version__ = "0.1.0"

__all__ = [
    "BYTES",
    "FLOAT64",
    "INT32",
    "INT64",
    "JSON",
    "STRING",
    "App",
    "Cogrouped",
    "ConfigError",
    "Context",
    "Function",
    "GlobalTable",
    "Grouped",
    "GroupedTable",
    "Hopping",
    "JoinWindow",
    "LogError",
    "Lookup",
    "Map",
    "Mistake",
    "Outgoing",
    "Record",
    "RegistryError",
    "Results",
    "SchemaRegistry",
    "Serde",
    "SerdeError",
    "Session",
    "SessionCogrouped",
    "SessionStream",
    "Sliding",
    "StageError",
    "StateError",
    "StopError",
    "Store",
    "Stream",
    "StreamfnError",
    "Table",
    "Topic",
    "TopologyError",
    "Tumbling",
    "Unlimited",
    "Value",
    "Windowed",
    "WindowedCogrouped",
    "WindowedStream",
    "__version__",
    "avro",
    "faust_codec",
    "msgpack",
    "protobuf",
    "testing",
    "time_windowed",
]

_HOMES = {
    "app": "App",
    "dsl.endpoints": "Topic",
    "dsl.cogrouped": "Cogrouped SessionCogrouped WindowedCogrouped",
    "dsl.function": "Function",
    "dsl.global_table": "GlobalTable",
    "dsl.grouped": "Grouped SessionStream WindowedStream",
    "dsl.grouped_table": "GroupedTable",
    "dsl.stream": "Stream",
    "dsl.table": "Table",
    "dsl.windows": "Hopping JoinWindow Session Sliding Tumbling Unlimited",
    "errors": "ConfigError LogError Mistake RegistryError SerdeError StageError StateError "
    "StopError StreamfnError TopologyError",
    "function.state": "Context Lookup Map Outgoing Store Value",
    "record": "Record",
    "results": "Results",
    "serde": "BYTES FLOAT64 INT32 INT64 JSON STRING Serde msgpack time_windowed",
    "serde.avro": "avro",
    "serde.avro_registry": "SchemaRegistry",
    "serde.faust_records": "faust_codec",
    "serde.protobuf_messages": "protobuf",
    "windowed": "Windowed",
}
"""Module → the public names in it."""

if not TYPE_CHECKING:  # for a type checker, a module with __getattr__ has every name
    _HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        """Load what is asked for: ``streamfn --help`` and an early Ctrl-C wait for nothing."""
        if name == "testing":
            return import_module("streamfn.testing")
        if name not in _HOME_OF:
            message = f"module 'streamfn' has no attribute {name!r}"
            raise AttributeError(message)
        found = getattr(import_module(f"streamfn.{_HOME_OF[name]}"), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        """List all public names, loaded or not."""
        return __all__
