"""From a case's ops to a program.

Invariant: ops are made in their order, and each kind of op in the one place that knows it.
"""

import streamfn as sf
from tests.conformance.aggregates import AGGREGATES
from tests.conformance.cases import Case, Op
from tests.conformance.joins import JOINS
from tests.conformance.made import Build, Made
from tests.conformance.stages import STAGES
from tests.conformance.streams import STREAMS
from tests.conformance.tables import TABLES


def build(case: Case) -> Made:
    """Build a case's program.

    Raises:
        sf.TopologyError: if streamfn refuses it.
    """
    made = Made(case)
    for op in case.ops:
        _operator(made, op)(made, op)
    return made


def _operator(made: Made, op: Op) -> Build:
    """What makes an op; several are of streams and of tables."""
    families = [TABLES, STREAMS] if op.in_ in made.tables else [STREAMS, TABLES]
    for family in (*families, AGGREGATES, JOINS, STAGES):
        if op.op in family:
            return family[op.op]
    message = f"op {op.op!r} of case {made.case.id!r} is unknown; got {op}; write it in build.py"
    raise sf.StreamfnError(message)
