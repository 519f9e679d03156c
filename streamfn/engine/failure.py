"""What becomes of a record that fails.

Which stage it was, what its policy says, what a dead letter holds.

The stage is read off the traceback (a generated chain knows its lines, a closure bears its stage's
name), so that nothing is spent on records that do not fail. Invariant: a dead letter holds the
bytes of the record as it was read and headers that say where, why and when.
"""

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from streamfn.engine import closures, steps
from streamfn.engine.compile import CompiledTimer
from streamfn.engine.generate import FILE_PREFIX
from streamfn.engine.scope import Scope
from streamfn.errors import InternalError, LogError, StageError, StateError, StopError
from streamfn.graph.plan import Plan, Subtopology
from streamfn.graph.topology import Function, Policy, Source, Topology
from streamfn.record import Columns, Headers, TopicPartition

PACKAGE = str(Path(closures.__file__).parent.parent)
_COMPILED = (closures.__file__, steps.__file__)
_OPERATORS = str(Path(closures.__file__).with_name("operators"))
FATAL = (StateError, LogError, InternalError, StopError)
"""Errors that are not the record's: no policy applies."""


class Parked(Exception):  # a signal inside the engine, never seen by a user
    """The record is to be tried again later; the task waits, the others go on."""

    def __init__(self, delay_ms: int, reason: str) -> None:
        self.delay_ms, self.reason = delay_ms, reason


def stage_of(error: BaseException, lines: Mapping[int, str], default: str) -> str:
    """Return the stage that was running when the error was raised.

    The innermost one on the traceback.
    """
    found = default
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename.startswith(FILE_PREFIX):
            found = lines.get(trace.tb_lineno, found)
        elif code.co_qualname.startswith(steps.STAGE) and (
            code.co_filename in _COMPILED or code.co_filename.startswith(_OPERATORS)
        ):
            found = code.co_name
        trace = trace.tb_next
    return found


def user_traceback(error: BaseException) -> str:
    """Format an error with the user's own frames only."""
    shown = traceback.TracebackException.from_exception(error)
    own = [
        frame
        for frame in shown.stack
        if not frame.filename.startswith((PACKAGE, FILE_PREFIX))
        or f"{PACKAGE}/topologies" in frame.filename
    ]
    shown.stack = traceback.StackSummary.from_list(own)
    return "".join(shown.format(chain=False))


def stage_behind(sub: Subtopology, topic: str) -> str:
    """Return whose policy holds for a record that ran well and cannot be sent.

    Which stage made what was refused is not known, but the functions behind the source may agree.
    """
    waiting = [source.name for source in sub.sources if source.topic.name == topic]
    functions: list[Function] = []
    while waiting:
        for node in sub.children(waiting.pop()):
            waiting.append(node.name)
            if isinstance(node, Function):
                functions.append(node)
    agreed = len({function.policy for function in functions}) == 1
    return functions[0].name if agreed else topic


def policy_of(topology: Topology, stage: str) -> Policy:
    """The stage's policy, with the application's where it says nothing."""
    node, base = topology.nodes.get(stage), topology.policy
    own = node.policy if isinstance(node, Function) else Policy()
    return Policy(
        own.on_error or base.on_error or "fail",
        base.retries if own.retries is None else own.retries,
        base.retry_backoff_ms if own.retry_backoff_ms is None else own.retry_backoff_ms,
    )


def unread_part(
    topology: Topology, source: str, key: bytes | None, value: bytes | None, error: Exception
) -> str:
    """Say which part of a record did not decode, and as what; empty: that is not what failed.

    A key is decoded when a function asks for it, so the stage does not tell.
    """
    node = topology.nodes.get(source)
    if not isinstance(node, Source):
        return ""
    for part, raw, serde in (("key", key, node.topic.key), ("value", value, node.topic.value)):
        try:
            _ = raw is None or serde.decode(raw)
        except Exception as found:  # a serde may be a user's own
            if (type(found), str(found)) == (type(error), str(error)):
                return f"the {part} does not decode as {serde.name}: "
    return ""


def stage_error(
    error: Exception,
    stage: str,
    task: str,
    source: TopicPartition,
    offset: int,
    key: bytes | None,
    part: str = "",
) -> StageError:
    """Make what a worker stops with under ``fail``; its cause is the user's own error."""
    reason = f"key {key!r}: {part}{type(error).__name__}: {error}"
    made = StageError(stage, task, source.topic, source.partition, offset, reason)
    made.__cause__, made.key = error, key
    return made


def dead_letter_headers(
    error: Exception, stage: str, task: str, source: TopicPartition, offset: int, now_ms: int
) -> Headers:
    """Say where, why and when a record failed."""
    facts: dict[str, Any] = {
        "streamfn.topic": source.topic,
        "streamfn.partition": source.partition,
        "streamfn.offset": offset,
        "streamfn.task": task,
        "streamfn.stage": stage,
        "streamfn.error": type(error).__name__,
        "streamfn.message": str(error)[:1000],
        "streamfn.failed_at_ms": now_ms,
    }
    return tuple((name, str(fact).encode()) for name, fact in facts.items())


def _no_exit(error: BaseException) -> BaseException:
    """A function that calls ``sys.exit`` has failed: the worker says where and decides itself."""
    if not isinstance(error, SystemExit):
        return error
    made = RuntimeError(f"the function called sys.exit({error.code!r})")
    made.__cause__ = error
    return made.with_traceback(error.__traceback__)


class Failures:
    """What a task does about its failing records; ``marked``, ``lines``: the chain's."""

    def __init__(self, scope: Scope, plan: Plan) -> None:
        self._scope, self._plan = scope, plan
        self.marked: Sequence[Columns] = ()
        self.lines: Mapping[int, str] = {}
        self._tried: tuple[TopicPartition, int] | None = None
        self._tries = 0
        scope.failed, scope.result_failed = self.failed, self.result_failed

    def failed(self, error: BaseException, marks: Sequence[int], stage: str | None = None) -> None:
        """Undo the current record as a whole, then retry it, drop it or stop, as its policy says.

        What is no ``Exception`` (an exit) goes on as it came.

        Raises:
            Parked: the record is to be tried again later.
            StageError: the policy is to fail.
        """
        self.undo(marks)
        error = _no_exit(error)
        if isinstance(error, FATAL) or not isinstance(error, Exception):
            raise error
        cursor = self._scope.cursor
        source, offset = cursor.source, cursor.offset
        stage = stage or stage_of(error, self.lines, source.topic)
        policy = policy_of(self._plan.topology, stage)
        self._retry(error, source, offset, policy)
        if policy.on_error == "fail":
            key, value, _ = cursor.raw
            part = unread_part(self._plan.topology, source.topic, key, value, error)
            made = stage_error(error, stage, self._scope.task, source, offset, key, part)
            self._stop(made)
            return
        if policy.on_error == "dead_letter":
            self._bury(error, stage, source, offset)
        else:
            self._scope.metrics.skipped += 1

    def _stop(self, error: StageError) -> None:
        """Have the worker stop; a replay takes note and goes on.

        Raises:
            StageError: nobody takes note.
        """
        if self._plan.noted is None:
            raise error
        cursor = self._scope.cursor
        error.rank = cursor.moved if cursor.offset < 0 else cursor.rank
        self._plan.noted(error)

    def _retry(self, error: Exception, source: TopicPartition, offset: int, policy: Policy) -> None:
        if self._tried != (source, offset):
            self._tried, self._tries = (source, offset), 0
        if self._tries >= (policy.retries or 0):
            self._tried = None
            return
        self._tries += 1
        self._scope.metrics.retries += 1
        reason = f"retry {self._tries} of {policy.retries} of {source} at offset {offset}: {error}"
        raise Parked((policy.retry_backoff_ms or 0) * 2 ** (self._tries - 1), reason)

    def _bury(self, error: Exception, stage: str, source: TopicPartition, offset: int) -> None:
        """Write the record as it was read to the dead letters; its own headers are added later."""
        key, value, timestamp = self._scope.cursor.raw
        now_ms = timestamp if self._scope.replayed else self._scope.clock.now_ms()
        headers = dead_letter_headers(error, stage, self._scope.task, source, offset, now_ms)
        letters = self._scope.output(self._plan.dead_letter_topic)
        letters.add(key, value, timestamp, headers)
        if self._scope.traced:
            letters.left.append(self._scope.cursor.left())
            letters.stages.append(stage)
        self._scope.metrics.dead_letters += 1

    def result_failed(
        self,
        stage: str,
        begun: int,
        columns: Sequence[Columns],
        error: BaseException,
        marks: Sequence[int],
    ) -> None:
        """Undo a result of earlier records that failed on its way, and drop it.

        The record that brought its time is not at fault, nor would the next one be.

        Raises:
            BaseException: the error, if its stage is to fail, or if there are tries left.
        """
        error = _no_exit(error)
        if isinstance(error, FATAL) or not isinstance(error, Exception):
            raise error
        cursor, stage = self._scope.cursor, stage_of(error, {}, stage)
        policy = policy_of(self._plan.topology, stage)
        tries = self._tries if self._tried == (cursor.source, cursor.offset) else 0
        if policy.on_error == "fail" and self._plan.noted is not None and cursor.offset >= 0:
            at = cursor.source, cursor.offset, cursor.raw[0]
            self._stop(stage_error(error, stage, self._scope.task, *at))
        elif policy.on_error == "fail" or (cursor.offset >= 0 and tries < (policy.retries or 0)):
            raise error
        self._undo(begun, columns, marks)
        self._scope.metrics.drop("failed result", stage)

    def undo(self, marks: Sequence[int]) -> None:
        """Take back state and outputs of the current record."""
        self._undo(0, self.marked, marks)
        self._scope.again()

    def _undo(self, begun: int, marked: Sequence[Columns], marks: Sequence[int]) -> None:
        undo = self._scope.undo
        for levels, key, old in reversed(undo[begun:]):
            levels.restore(key, old)
        del undo[begun:]
        for columns, mark in zip(marked, marks, strict=False):
            columns.cut(mark)
        self._scope.reset()

    def timer_failed(
        self, timer: CompiledTimer, now_ms: int, error: BaseException, marks: Sequence[int]
    ) -> None:
        """Undo what a timer did; it has no record to bury, so it stops the worker or is counted."""
        self.undo(marks)
        error = _no_exit(error)
        if isinstance(error, FATAL) or not isinstance(error, Exception):
            raise error
        if policy_of(self._plan.topology, timer.stage).on_error == "fail":
            place = TopicPartition(f"timer {timer.timer.name}", self._scope.partition)
            made = stage_error(error, timer.stage, self._scope.task, place, now_ms, None)
            made.redo = True
            self._stop(made)
            return
        self._scope.metrics.drop("failed timer", timer.stage)
