"""Whether two answers are equal under a case's rule, and a readable difference where they are not.

Compared is what each step wrote to each topic: in order, in order per key, or as a multiset.
Invariant: step, key, value, time and (where they are recorded) headers always count.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from msgspec.structs import replace

from tests.conformance.cases import Answer, Case, Compare, Step

Place = tuple[int, str]
"""A step and a topic."""


def by_place(answers: Iterable[Answer]) -> dict[Place, list[Answer]]:
    """What each step wrote to each topic, in order."""
    found: dict[Place, list[Answer]] = {}
    for answer in answers:
        found.setdefault((answer.after, answer.topic), []).append(answer)
    return found


def _said(answer: Answer) -> str:
    headers = "".join(f" {name}={value}" for name, value in answer.headers)
    return f"{_text(answer.key)} = {_text(answer.value)} @{answer.ts}{headers}"


def _text(value: str | None) -> str:
    return "null" if value is None else repr(value)


def _ordered(answers: Sequence[Answer]) -> object:
    return list(answers)


def _per_key(answers: Sequence[Answer]) -> object:
    found: dict[str | None, list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.key, []).append(answer)
    return found


def _multiset(answers: Sequence[Answer]) -> object:
    return sorted(answers, key=_said)


RULES: Mapping[Compare, Callable[[Sequence[Answer]], object]] = {
    "ordered": _ordered,
    "per_key": _per_key,
    "multiset": _multiset,
}


def first_difference(compare: Compare, wanted: list[Answer], got: list[Answer]) -> Place | None:
    """The first step, and the topic, at which two answers differ; None: they are equal."""
    rule, wants, gets = RULES[compare], by_place(wanted), by_place(got)
    for place in sorted({*wants, *gets}):
        if rule(wants.get(place, [])) != rule(gets.get(place, [])):
            return place
    return None


def in_steps_of(wanted: list[Answer], got: list[Answer]) -> list[Answer]:
    """Spread answers whose steps are not known over the steps of the wanted ones, by topic.

    Where there are more than wanted, they stand behind the last step.
    """
    steps: dict[str, list[int]] = {}
    for answer in wanted:
        steps.setdefault(answer.topic, []).append(answer.after)
    spread: list[Answer] = []
    ordered = sorted(got, key=attrgetter("topic"))  # it is stable
    for topic, answers in groupby(ordered, attrgetter("topic")):
        places = iter(steps.get(topic, []))
        spread += [replace(answer, after=next(places, 1 << 30)) for answer in answers]
    return spread


def difference(case: Case, place: Place, wanted: list[Answer], got: list[Answer]) -> str:
    """Show the first step that differs: what it was, what was wanted, what was got."""
    after, topic = place
    step = case.input[after] if after < len(case.input) else None
    lines = [f"step {after}: {'after the last' if step is None else _step(step)}"]
    for word, answers in (("wanted", wanted), ("got", got)):
        found = by_place(answers).get(place, [])
        lines.append(f"  {word} in {topic!r}{'' if found else ': nothing'}")
        lines += [f"    {_said(answer)}" for answer in found]
    return "\n".join(lines)


def _step(step: Step) -> str:
    if step.topic is None:
        return f"the wall clock moves on {step.advance_wall_ms} ms"
    return f"{step.topic!r} gets {_text(step.key)} = {_text(step.value)} @{step.ts}"
