"""Runs a case in the TestDriver and judges what came out.

Steps go in one by one, and after each the topics are read; under a commit interval everything is
read at the end. Invariant: neither compiler, commit interval nor restarts may change an answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import streamfn as sf
from tests.conformance.build import build
from tests.conformance.cases import Answer, Case, Op, Step
from tests.conformance.compare import difference, first_difference, in_steps_of
from tests.conformance.made import Made, milliseconds

RESTART_EACH = 4
"""With restarts, one step in so many is followed by one."""


@dataclass(frozen=True, slots=True)
class Way:
    """How to run cases: none of it may change an answer."""

    generated: bool = True
    commit_interval_ms: int = 0
    restarts: int | None = None
    """A seed for the steps at which the worker is killed; None: never."""


PLAIN = Way()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a case. ``also`` is true where it gave the second answer."""

    case: Case
    passed: bool
    also: bool = False
    report: str = ""


def can_run(case: Case, way: Way) -> bool:
    """Tell whether a case has one answer under a way of running.

    Under a commit interval, records that went through a repartition come later than others, and
    uncommitted records of several topics come again in the order of their times. A restart begins
    anew to wait for a wall-clock timer.
    """
    kinds = {op.op for op in case.ops}
    on_wall_clock = any(op.clock == "wall" for op in case.ops if op.every)
    if way.commit_interval_ms:
        through_topics = kinds & THROUGH_TOPICS or any(_goes_on(case, op) for op in case.ops)
        topics = {step.topic for step in case.input if step.topic}
        several = len(topics) > 1 and way.restarts is not None
        if through_topics or several or (kinds & WITH_TIMERS):
            return False
    return way.restarts is None or not on_wall_clock


def _goes_on(case: Case, op: Op) -> bool:
    """Tell whether records of an op may reach another op through a topic of the inside."""
    to_others = [user for user in case.users(op.id) if user.op != "to"]
    return op.foreign_key or (op.op == "to_stream" and bool(to_others))


THROUGH_TOPICS = {"select_key", "map", "words_to_keys", "group_by", "repartition"}
WITH_TIMERS = {"tick", "flush_store", "expire"}


def run_case(case: Case, way: Way = PLAIN) -> list[Answer]:
    """Run a case; return what it wrote."""
    made = build(case)
    sinks = list(dict.fromkeys(op.topic for op in case.ops if op.op == "to"))
    choose = Random(f"{way.restarts} {case.id}")
    answers: list[Answer] = []
    with sf.testing.TestDriver(
        made.app, commit_interval_ms=way.commit_interval_ms, generated=way.generated
    ) as driver:
        for number, step in enumerate(case.input):
            _take(driver, made, step)
            if way.restarts is not None and choose.randrange(RESTART_EACH) == 0:
                driver.restart()
            if not way.commit_interval_ms:
                answers += _read(driver, made, sinks, number, headers=case.headers)
    if way.commit_interval_ms:
        return list(_read(driver, made, sinks, 0, headers=case.headers))
    return answers


def _take(driver: sf.testing.TestDriver, made: Made, step: Step) -> None:
    if step.topic is None:
        driver.advance(milliseconds(step.advance_wall_ms))
        return
    headers = tuple((name, _header(name, text)) for name, text in step.headers)
    driver.send(
        made.topic(step.topic), step.value, key=step.key, timestamp_ms=step.ts, headers=headers
    )


def _header(name: str, text: str | None) -> bytes:
    """A header's value; records of streamfn have none that are null."""
    if text is None:
        message = f"header {name!r} is null; got none, but a header of streamfn holds bytes"
        raise ValueError(message)
    return text.encode()


def _read(
    driver: sf.testing.TestDriver, made: Made, sinks: Iterable[str], after: int, *, headers: bool
) -> Iterable[Answer]:
    for name in sinks:
        for record in driver.read(made.topic(name)):
            named = ((header, raw.decode()) for header, raw in record.headers)
            yield Answer(
                after, name, record.key, record.value, record.timestamp_ms,
                tuple(named) if headers else (),
            )  # fmt: skip


def judge(case: Case, way: Way = PLAIN) -> Verdict:
    """Run a case and compare its answer with those recorded."""
    if case.unreadable:
        return Verdict(case, False, report=case.unreadable)
    try:
        got = run_case(case, way)
    except Exception as error:
        return Verdict(case, False, report=f"{type(error).__name__}: {error}")
    return judge_answers(case, got, in_steps=not way.commit_interval_ms)


def judge_answers(case: Case, got: list[Answer], *, in_steps: bool = True) -> Verdict:
    """Compare an answer with those recorded; where it differs from both, show how."""
    wanted = case.output if case.also is None else case.also
    for recorded in (wanted, case.output):
        spread = got if in_steps else in_steps_of(recorded, got)
        if first_difference(case.compare, recorded, spread) is None:
            return Verdict(case, True, also=recorded is case.also)
    spread = got if in_steps else in_steps_of(wanted, got)
    place = first_difference(case.compare, wanted, spread)
    assert place is not None
    return Verdict(case, False, report=difference(case, place, wanted, spread))
