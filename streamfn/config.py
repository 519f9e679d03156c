"""All settings of a run: one frozen dataclass, read from ``-o key=value`` and checked in one place.

Invariant: a ``Config`` that exists is valid, and printing it tells no secret. Durations end in
``_ms``, sizes say their unit. Settings of the Kafka clients (``kafka.*``, ``consumer.*`` …) are
passed on as they are, but those that would break a guarantee without a sound (another isolation
level, a foreign partitioner) are refused with the reason.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from streamfn.errors import ConfigError

REFUSED: Final = {
    "isolation.level": "reading uncommitted records would count what is undone later",
    "enable.auto.commit": "offsets are committed with the outputs, never on their own",
    "enable.auto.offset.store": "offsets are committed with the outputs, never on their own",
    "transactional.id": "it is derived from the worker's slot, so that no two workers share one",
    "partitioner": "another partitioner puts keys where their state is not",
    "group.id": "the group is the application's name",
    "partition.assignment.strategy": "tasks are assigned by the task-token topic",
    "allow.auto.create.topics": "a deleted changelog would come back without compaction",
    "auto.offset.reset": "where to start is the option start, asked once and then committed",
    "enable.idempotence": "without it a retry of the client doubles records",
    "enable.partition.eof": "it tells that an input is read to its end",
    "delivery.report.only.error": "a report for each record would halve the speed",
    "bootstrap.servers": "the address is what --broker says",
    "metadata.broker.list": "the address is what --broker says",
    "group.instance.id": "workers share settings, and two members must not share an identity",
    "go.delivery.reports": "it is a setting of another language's client",
}

CLIENTS: Final = ("kafka", "consumer", "producer", "admin")
"""Whose settings are passed on: of all Kafka clients, or of one kind."""

SECRET_WORDS: Final = ("password", "secret", "key.pem", "certificate.pem", "token", "jaas", "basic")
"""A setting with one of these in its name is never shown."""


class ClientSettings(Mapping[str, str]):
    """Settings of the Kafka clients, such as ``kafka.sasl.password``; printing hides secrets."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = dict(settings or {})

    def __getitem__(self, key: str) -> str:
        return self._settings[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def __repr__(self) -> str:
        return str({name: "***" if is_secret(name) else self[name] for name in self})


def is_secret(name: str) -> bool:
    """Tell whether a setting's value must not be shown."""
    return any(word in name.lower() for word in SECRET_WORDS)


@dataclass(frozen=True, slots=True)
class Config:
    """Settings with their defaults; each field says what it bounds."""

    state_dir: Path = Path(".streamfn")
    """Folder of all applications; each has its own folder below it."""
    commit_interval_ms: int = 100
    """Time between commits: the latency of outputs against the cost of a transaction."""
    store_interval_ms: int = 10_000
    """Time between writes of committed changes to RocksDB; the changelog is the durability."""
    pending_entries_max: int = 250_000
    """Committed changes of a task after which they are written to RocksDB before their time."""
    poll_timeout_ms: int = 50
    """Longest wait for records when there is nothing to do."""
    max_task_idle_ms: int = 0
    """How long a merge waits for an input that is at its end, for the sake of time order."""
    buffer_records_max: int = 5_000
    """Records a task holds per input before that input is paused."""
    process_slice_ms: int = 200
    """Longest time a task works before the loop turns to the others and to its duties."""
    transaction_bytes_max: int = 64 * 1024 * 1024
    """Bytes of outputs after which a transaction is committed before its time."""
    transaction_records_max: int = 200_000
    """Input records after which a transaction is committed before its time."""
    cache_entries_max: int = 1_000_000
    """Decoded entries a store keeps in memory; the oldest clean ones go first."""
    restore_slice_records: int = 50_000
    """Changelog records restored before the loop turns to other tasks."""
    restore_timeout_ms: int = 120_000
    """Longest wait for the end of a changelog; past it the worker stops rather than go on."""
    watchdog_ms: int = 300_000
    """A loop silent for so long is ended with a dump of where it hangs; 0 is off."""
    start: str = "earliest"
    """Where a source topic without a committed position begins: earliest or latest."""
    on_gap: str = "fail"
    """A position below the log's start: fail, or skip to the start."""
    broker: str = ""
    """Addresses of a Kafka, host:port[,host:port]; without one the log is embedded."""
    client_settings: ClientSettings = field(default_factory=ClientSettings)
    """Of the Kafka clients: kafka.NAME for all, or consumer.NAME, producer.NAME, admin.NAME."""
    guarantee: str = "exactly_once"
    """On Kafka: exactly_once, or at_least_once (no transactions; a crash may repeat outputs)."""
    connect_timeout_ms: int = 60_000
    """Longest wait for a broker at start; a worker that has run waits for as long as it takes."""
    internal_topics: str = "create"
    """Internal topics that are missing: create, or verify (without the right to create)."""
    replication_factor: int = 0
    """Copies of topics that are created; 0 leaves it to the broker's default."""
    durability: str = "wal"
    """Embedded log: wal survives a crash of the process, fsync also one of the machine."""
    repartition_trim_interval_ms: int = 30_000
    """Time between trims of repartition topics up to committed positions."""
    topic_check_interval_ms: int = 60_000
    """Time between looks whether source topics have grown and the token topic is still there."""
    delete_retention_ms: int = 7 * 24 * 3_600_000
    """How long changelogs keep tombstones; a store away for half of it is restored in full."""
    unowned_folder_delay_ms: int = 24 * 3_600_000
    """Age after which the folder of a task that is no longer ours is removed."""
    provenance: bool = False
    """Outputs say in a header which stage, code and input record made them: streamfn trace."""

    def __post_init__(self) -> None:
        for name in _choices:
            if getattr(self, name) not in _choices[name]:
                raise _wrong(name, getattr(self, name), f"one of {', '.join(_choices[name])}")
        for each in fields(self):
            value = getattr(self, each.name)
            least = 0 if each.name in _may_be_zero else 1
            if each.name in _switches and not isinstance(value, bool):
                raise _wrong(each.name, value, "true or false")
            if isinstance(value, int) and each.name not in _switches and value < least:
                raise _wrong(each.name, value, f"a number of at least {least}")

    @classmethod
    def parse(cls, options: Iterable[str], **given: Any) -> "Config":
        """Read ``key=value`` texts over the given settings.

        Raises:
            ConfigError: an unknown key (the nearest one is named), a value that does not fit, or a
                setting that would break a guarantee.
        """
        settings, passed = dict(given), dict[str, str](given.get("client_settings", {}))
        for option in options:
            key, equals, text = option.partition("=")
            if not equals:
                message = f"option {option!r} has no value; write {key}=VALUE"
                raise ConfigError(message)
            key, text = key.strip(), text.strip()
            if key.partition(".")[0] in CLIENTS and "." in key:
                _check_allowed(key)
                passed[key] = text
            else:
                settings[key] = _read(key, text)
        return replace(cls(), **{**settings, "client_settings": ClientSettings(passed)})


_choices: Final = {
    "start": ("earliest", "latest"),
    "on_gap": ("fail", "skip"),
    "durability": ("wal", "fsync"),
    "guarantee": ("exactly_once", "at_least_once"),
    "internal_topics": ("create", "verify"),
}
_may_be_zero: Final = {
    "max_task_idle_ms",
    "watchdog_ms",
    "store_interval_ms",
    "commit_interval_ms",
    "poll_timeout_ms",
    "replication_factor",
}
_switches: Final = {each.name for each in fields(Config) if each.type is bool}
_SWITCHED: Final = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip


def _wrong(name: str, got: object, expected: str) -> ConfigError:
    return ConfigError(f"option {name!r} does not fit; got {got!r}; give {expected}")


def _check_allowed(key: str) -> None:
    """Refuse what would break a guarantee, whichever client it is for."""
    reason = REFUSED.get(key) or REFUSED.get(key.split(".", 1)[-1])
    if reason:
        message = f"option {key!r} is refused; {reason}; leave it out"
        raise ConfigError(message)


def _read(key: str, text: str) -> Any:
    _check_allowed(key)
    hints = get_type_hints(Config)
    if key not in hints or key == "client_settings":
        raise ConfigError(_unknown(key, list(hints)))
    kind = hints[key]
    if kind is bool:
        if text.lower() not in _SWITCHED:
            raise _wrong(key, text, "true or false")
        return _SWITCHED[text.lower()]
    try:
        return kind(text) if kind in (int, Path, str) else get_args(kind)[0](text)
    except ValueError:
        raise _wrong(key, text, f"a value of type {kind.__name__}") from None


def _unknown(key: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"option {key!r} is unknown; {hint}"
