"""What a replay leaves out or does otherwise than a live run, said to whoever reads its results.

Invariant: whatever a program has that depends on the clock on the wall is named.
"""

from collections.abc import Iterator

from streamfn.graph.topology import Function, Topology
from streamfn.replay.recording import Inputs


def notices_of(topology: Topology, inputs: Inputs) -> tuple[str, ...]:
    """Return the notices of a program on its inputs, one sentence each."""
    return tuple(_notices(topology, inputs))


def _notices(topology: Topology, inputs: Inputs) -> Iterator[str]:
    nodes = topology.nodes.values()
    functions = [node for node in nodes if isinstance(node, Function)]
    timed = [f.name for f in functions if any(t.clock == "wall" for t in f.timers)]
    if timed:
        yield (
            f"timers of the wall clock ({', '.join(timed)}) fire by the records' time: a live run "
            "fired them at other moments"
        )
    idle = [
        node.name
        for node in nodes
        for store in node.stores
        if store.window is not None and store.window.idle_close_ms is not None
    ]
    if idle:
        yield f"windows of {', '.join(dict.fromkeys(idle))} do not close for want of records"
    if topology.global_tables:
        names = ", ".join(sorted(topology.global_tables))
        yield f"global tables ({names}) are read whole before the first record"
    recorded = {store.name for store in inputs.header.stores}
    empty = sorted(topology.stores.keys() - recorded) if recorded else []
    if empty:
        yield f"the recording has no state of {', '.join(empty)}: there it begins with nothing"
    unknown = sorted(recorded - topology.stores.keys())
    if unknown:
        yield f"recorded state of {', '.join(unknown)} is left out: the program has no such store"
    if inputs.header.sample:
        yield f"the recording is a sample: {inputs.header.sample}"
