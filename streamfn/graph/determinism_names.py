"""What Python gives that a replay would get differently: by name, and what to use instead.

Invariant: nothing here is imported or called to be known; objects are judged by where they say that
they come from. ``determinism_code`` finds them in functions.
"""

import os
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import date
from types import ModuleType
from typing import Any, Final, NamedTuple


class Kind(NamedTuple):
    """A kind of finding: what is wrong, and what to do."""

    wrong: str
    cure: str


CLOCK: Final = Kind(
    "reads the clock",
    "use the record's time: now() of an sf.Context parameter",
)
CHANCE: Final = Kind(
    "draws random numbers",
    "use random of an sf.Context parameter: it follows from the record",
)
IDENTIFIER: Final = Kind(
    "makes a random id",
    "use uuid() of an sf.Context parameter: it follows from the record",
)
HASH: Final = Kind(
    "uses a number that differs in each process",
    "use hashlib or zlib.crc32 of bytes",
)
SURROUNDINGS: Final = Kind(
    "asks the process or its machine",
    "read it once, at the top level of the program, and give it to the function",
)
OUTSIDE: Final = Kind(
    "reads or writes outside the log",
    "have it come as a topic or table, and go out as records",
)
SET_ORDER: Final = Kind(
    "goes through a set, whose order differs in each process",
    "go through sorted(...), or use a list or dict",
)
SHARED: Final = Kind(
    "changes what outlives the call and is no state",
    "keep it in sf.Value, sf.Map or sf.Store: that is committed, restored and replayed",
)

_CLOCKS: Final = {
    f"time.{name}{suffix}"
    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time")
    for suffix in ("", "_ns")
} | {
    "time.clock_gettime",
    "time.clock_gettime_ns",
    "posix.times",
    "streamfn.function.state.Context.now_ms",
}
_CLOCKS_WITHOUT_ARGUMENTS: Final = {
    "time.localtime": 0,
    "time.gmtime": 0,
    "time.ctime": 0,
    "time.asctime": 0,
    "time.strftime": 1,
}
_SEEDED: Final = {
    "random.Random",
    "numpy.random.default_rng",
    "numpy.random._generator.default_rng",
    "numpy.random.mtrand.RandomState",
}
"""Generators of their own: their seed tells what they give."""
_CHANCE: Final = {"posix.urandom", "nt.urandom", "random.SystemRandom"}
_IDENTIFIERS: Final = {f"uuid.uuid{version}" for version in (1, 4, 6, 7)}
_HASHES: Final = {"builtins.hash", "builtins.id"}
_SURROUNDINGS: Final = {
    *(
        f"posix.{name}"
        for name in ("getpid", "getppid", "getcwd", "uname", "cpu_count", "getlogin")
    ),
    *(f"os.{name}" for name in ("getenv", "getenvb", "cpu_count", "process_cpu_count")),
    *(f"_socket.{name}" for name in ("gethostname", "getfqdn")),
    *(f"socket.{name}" for name in ("gethostname", "getfqdn")),
    *(f"platform.{name}" for name in ("node", "platform", "uname", "system", "machine")),
    *(f"_thread.{name}" for name in ("get_ident", "get_native_id")),
    "getpass.getuser",
}
_OUTSIDE: Final = {
    "_io.open",
    "io.open",
    "builtins.open",
    "builtins.input",
    *(
        f"posix.{name}"
        for name in ("listdir", "scandir", "stat", "lstat", "open", "read", "system")
    ),
    *(f"os.{name}" for name in ("walk", "popen", "fdopen", "makedirs")),
    *(f"genericpath.{name}" for name in ("exists", "isfile", "isdir", "getsize", "getmtime")),
    "posixpath.realpath",
    "posixpath.islink",
}
_OUTSIDE_MODULES: Final = {
    "aiohttp", "asyncpg", "boto3", "botocore", "confluent_kafka", "ftplib", "glob", "http.client",
    "httpx", "kafka", "psycopg", "psycopg2", "pymongo", "redis", "requests", "shutil", "smtplib",
    "socket", "_socket", "sqlalchemy", "sqlite3", "_sqlite3", "ssl", "subprocess", "tempfile",
    "urllib.request", "urllib3",
}  # fmt: skip
_OF_PATHS: Final[dict[str, Kind]] = dict[str, Kind].fromkeys((
    "exists", "glob", "is_dir", "is_file", "iterdir", "mkdir", "open", "read_bytes", "read_text",
    "rename", "replace", "rglob", "rmdir", "stat", "touch", "unlink", "walk", "write_bytes",
    "write_text",
), OUTSIDE)  # fmt: skip
_CLASS_CLOCKS: Final = {"now", "utcnow", "today"}
"""Of ``datetime``, ``date`` and what is made from them."""

MUTABLE: Final = (list, dict, set, deque, bytearray, Counter, OrderedDict, defaultdict)
CHANGING: Final = {
    "add", "append", "appendleft", "clear", "discard", "difference_update", "extend", "extendleft",
    "insert", "intersection_update", "move_to_end", "pop", "popitem", "popleft", "remove",
    "reverse", "rotate", "setdefault", "sort", "subtract", "symmetric_difference_update", "update",
}  # fmt: skip
"""The methods that change one of them."""


def qualified(thing: Any) -> str:
    """Name a function, method or class by where it is defined: ``datetime.datetime.now``."""
    owner = getattr(thing, "__self__", None)
    name = str(getattr(thing, "__name__", ""))
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}.{name}"
    if owner is not None and not isinstance(owner, ModuleType):
        return f"{type(owner).__module__}.{type(owner).__qualname__}.{name}"
    module = thing.__module__ if hasattr(thing, "__module__") else None
    return f"{module}.{getattr(thing, '__qualname__', name)}"


def verdict(thing: Any, arguments: int | None) -> Kind | None:
    """Judge what a function uses; ``arguments``: with how many it is called, if it is."""
    if thing is os.environ or thing is getattr(os, "environb", None):
        return SURROUNDINGS
    if not callable(thing) or isinstance(thing, ModuleType):
        return None
    return by_name(qualified(thing), arguments) or _by_owner(thing)


def by_name(name: str, arguments: int | None) -> Kind | None:
    """Judge what a name stands for."""
    if name in _SEEDED:
        return CHANCE if arguments == 0 else None
    if name in _CLOCKS_WITHOUT_ARGUMENTS:
        few = arguments is not None and arguments <= _CLOCKS_WITHOUT_ARGUMENTS[name]
        return CLOCK if few else None
    return _by_names(name)


def _by_names(name: str) -> Kind | None:
    for names, kind in (
        (_CLOCKS, CLOCK),
        (_CHANCE, CHANCE),
        (_IDENTIFIERS, IDENTIFIER),
        (_HASHES, HASH),
        (_SURROUNDINGS, SURROUNDINGS),
        (_OUTSIDE, OUTSIDE),
    ):
        if name in names:
            return kind
    if name.startswith(("secrets.", "numpy.random.")):
        return CHANCE
    module = name
    while "." in module:
        module = module.rpartition(".")[0]
        if module in _OUTSIDE_MODULES:
            return OUTSIDE
    if name.startswith("pathlib."):
        method = name.rpartition(".")[2]
        return SURROUNDINGS if method in ("cwd", "home") else _OF_PATHS.get(method)
    return None


def _by_owner(method: Any) -> Kind | None:
    """Judge a method by whose it is: a class of dates, a generator that outlives the call."""
    owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
    if owner is os.environ:
        return SURROUNDINGS
    if isinstance(owner, type):
        return CLOCK if issubclass(owner, date) and name in _CLASS_CLOCKS else None
    lineage = {f"{base.__module__}.{base.__qualname__}" for base in type(owner).__mro__}
    if "random.Random" in lineage or any(each.startswith("numpy.random.") for each in lineage):
        return CHANCE
    return SHARED if isinstance(owner, MUTABLE) and name in CHANGING else None
