"""Global tables: of which every worker has all keys, so that any record can look up any of them.

Invariant: a global table is no node of a sub-topology: it is filled apart from the tasks, and joins
and look-ups read it as it is at that moment. So a replay may see other values than the first run.
"""

from typing import TypeVar

from streamfn.dsl.endpoints import Topic
from streamfn.dsl.shared import TaskStore
from streamfn.errors import SerdeError
from streamfn.function.annotations import plain_type
from streamfn.graph.builder import Builder
from streamfn.graph.topology import GlobalTableSpec, StoreSpec
from streamfn.serde import state_serde
from streamfn.state.keys import key_codec

K = TypeVar("K")
V = TypeVar("V")


class GlobalTable(TaskStore[K, V]):
    """The last value of each key of a topic, whole in every worker."""

    __slots__ = ("store",)

    def __init__(self, owner: Builder, store: StoreSpec) -> None:
        self.owner, self.name = owner, store.name
        self.spec = self.store = store


def add_global_table(
    builder: Builder, topic: Topic[K, V], name: str | None, where: str
) -> GlobalTable[K, V]:
    """Remember the table beside the nodes; the same one again if nothing differs."""
    wanted = name or f"{topic.name}-global-table"
    found = builder.global_tables.get(wanted)
    if found is not None and found.topic is topic.spec:
        return GlobalTable(builder, found.store)
    if name is not None:
        builder.check_name(name, "a global table", where)
    key, value = plain_type(topic.spec.key), plain_type(topic.spec.value)
    store = builder.claim_store(StoreSpec(wanted, "global", key, value, where))
    try:
        key_codec(key)
        state_serde(value)
    except SerdeError as error:
        cure = "declare the topic with types that serdes can carry"
        wrong = f"topic {topic.name!r} cannot be a global table"
        builder.mistake(where, wrong, str(error), cure)
    builder.global_tables.setdefault(wanted, GlobalTableSpec(store, topic.spec, where))
    return GlobalTable(builder, store)
