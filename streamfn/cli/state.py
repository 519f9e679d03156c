"""``streamfn state``: the entries of a store; embedded, of an application that is not running.

They are read from the store's changelog in the log, which holds all that is committed, also where
the process died before its database was written. Invariant: what is shown is the committed state,
and looking changes nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer

from streamfn.cli.console import answers, say
from streamfn.cli.options import (
    STATE_DIR,
    ApplicationOption,
    AppOption,
    Broker,
    Json,
    KafkaConfig,
    StateDir,
)
from streamfn.errors import ConfigError, SerdeError

if TYPE_CHECKING:
    from streamfn.cli.place import Place
    from streamfn.connectors.log import Log
    from streamfn.graph.plan import Plan

Entry = tuple[Any, Any, int]
"""Key, value, partition."""

Store = Annotated[
    str | None,
    typer.Argument(metavar="[STORE]", help="Left out: the stores are listed.", show_default=False),
]
Key = Annotated[
    str | None,
    typer.Argument(metavar="[KEY]", help="As plain text or JSON.", show_default=False),
]
Limit = Annotated[int, typer.Option(min=0, metavar="N", help="Show so many entries; 0 shows all.")]


def state(
    store: Store = None,
    key: Key = None,
    app: AppOption = None,
    application: ApplicationOption = None,
    state_dir: StateDir = STATE_DIR,
    broker: Broker = None,
    kafka_config: KafkaConfig = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """Show the entries of a store, or the one of KEY (of a map or windows: all under it).

    With --app keys and values are read by the program's types; else values as MessagePack, keys as
    text or 0x…
    """
    from streamfn.cli.place import find, patiently
    from streamfn.cli.settings import configured

    place = find(configured(state_dir, broker, kafka_config), app, application)
    with place.log() as (log, _):
        planned = patiently(lambda: place.plan(log))
        if store is None:
            _list(place, log, planned)
            return
        entries = _typed(log, planned, store, key) if planned else _guessed(place, log, store, key)
        shown = list(entries)
    if key is not None and not shown:
        message = f"store {store!r} has no key {key!r}; see which it has: streamfn state {store}"
        raise ConfigError(message)
    _print(shown, limit, as_json=as_json)
    if not planned and any(str(entry[0]).startswith("0x") for entry in shown[: limit or None]):
        say("keys of windows and of versions are read by the program's types: --app", stderr=True)


def _stores(place: "Place", log: "Log") -> list[str]:
    """The stores that have a changelog in the log."""
    from streamfn.cli.place import patiently, purpose_of

    name = place.application
    topics = [
        topic
        for topic in patiently(lambda: place.topics(log))
        if purpose_of(name, topic) == "changelog"
    ]
    return sorted(topic.removeprefix(f"{name}-").removesuffix("-changelog") for topic in topics)


def _list(place: "Place", log: "Log", planned: "Plan | None") -> None:
    from streamfn.graph.describe import counted
    from streamfn.graph.naming import changelog_topic
    from streamfn.results import changelog_entries, partitions_of, store_entries

    names = _stores(place, log)
    for name in names:
        spec = planned.topology.stores.get(name) if planned else None
        if planned and spec and spec.kind != "buffer":
            with suppress(SerdeError):  # of another type by now: count what there is
                rows = sum(1 for _ in store_entries(log, planned, spec))
                say(f"{name}  {counted(rows, 'key')}")
                continue
        sources = partitions_of(log, changelog_topic(place.application, name))
        count = sum(len(changelog_entries(log, source)) for source in sources)
        say(f"{name}  {counted(count, 'entry' if spec else 'key')}")
    if not names:
        say(f"application {place.application!r} has no stores")


def _typed(log: "Log", planned: "Plan", store: str, key: str | None) -> Iterable[Entry]:
    """Entries by the program's types."""
    from streamfn.cli.values import key_candidates
    from streamfn.results import store_entries, store_name
    from streamfn.windowed import Windowed

    spec = planned.topology.stores[store_name(planned.topology, store)]
    if spec.kind == "buffer":
        message = (
            f"store {store!r} holds what waits in its operator, no rows; got its name; look at its "
            f"changelog: streamfn consume {planned.changelog(spec.name)}"
        )
        raise ConfigError(message)
    entries = store_entries(log, planned, spec)
    if key is None:
        return entries
    if spec.kind == "map":
        return list(_under(entries, key, spec.key, get_args(spec.key)[0], lambda found: found[0]))
    if get_origin(spec.key) is Windowed:
        (inner,) = get_args(spec.key)
        return list(_under(entries, key, spec.key, inner, lambda found: found.key))
    if spec.window is not None:
        whole = Windowed[spec.key]  # type: ignore[name-defined]  # a type that the program names
        return list(_under(entries, key, whole, spec.key, lambda found: found.key))
    wanted = key_candidates(key, spec.key)
    return [entry for entry in entries if entry[0] in wanted]


def _under(
    entries: Iterable[Entry],
    key: str,
    whole: object,
    head: object,
    head_of: Callable[[Any], Any],
) -> Iterator[Entry]:
    """Entries of a whole key, or all under the record key that is a part of it."""
    from streamfn.cli.values import key_candidates

    wanted: list[Any] = []
    heads: list[Any] = []
    for kind, found in ((whole, wanted), (head, heads)):
        try:
            found += key_candidates(key, kind)
        except SerdeError:
            continue  # it may be the other kind of key
    yield from (entry for entry in entries if entry[0] in wanted or head_of(entry[0]) in heads)


def _guessed(place: "Place", log: "Log", store: str, key: str | None) -> Iterator[Entry]:
    """Entries without types: keys that are text as text."""
    from streamfn.cli.values import guess_state_value, text_or_hex
    from streamfn.graph.naming import changelog_topic
    from streamfn.results import changelog_entries, partitions_of

    names = _stores(place, log)
    if store not in names:
        known = ", ".join(names) or "none"
        message = (
            f"store {store!r} is not one of application {place.application!r}; it has {known}; "
            "name one of them"
        )
        raise ConfigError(message)
    for source in partitions_of(log, changelog_topic(place.application, store)):
        for raw_key, raw in sorted(changelog_entries(log, source).items()):
            shown = text_or_hex(raw_key)
            if key is None or key in (shown, f'"{shown}"'):
                yield shown, guess_state_value(raw), source.partition


def _print(entries: list[Entry], limit: int, *, as_json: bool) -> None:
    from streamfn.cli.values import compact, plain, to_json

    shown = entries[: limit or None]
    if as_json:
        for key, value, partition in shown:
            facts = {"key": plain(key), "value": plain(value), "partition": partition}
            say(to_json(facts))
        return
    from rich.table import Table

    from streamfn.graph.describe import counted

    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="dim")
    table.add_column("key", overflow="fold")
    table.add_column("value", overflow="fold")
    table.add_column("partition", justify="right")
    for key, value, partition in shown:
        table.add_row(compact(plain(key)), compact(plain(value)), str(partition))
    answers().print(table)
    more = len(entries) - len(shown)
    say(counted(len(entries), "key") + (f", {more:,} of them not shown: --limit 0" if more else ""))
