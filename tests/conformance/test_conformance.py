"""Every shared case, one test a template; and that the runner sees a wrong answer.

``STREAMFN_CONFORMANCE`` may name further files of cases, separated by colons.
"""

import os
import re
from collections import defaultdict
from pathlib import Path

import pytest
from msgspec import json as msgspec_json
from msgspec.structs import replace

from tests.conformance.__main__ import main
from tests.conformance.cases import SHARED, Answer, Case, CaseError, read_cases
from tests.conformance.compare import first_difference, in_steps_of
from tests.conformance.functions import REDUCERS, mapper, of_record, predicate
from tests.conformance.run import Way, can_run, judge, judge_answers

MORE = [Path(name) for name in os.environ.get("STREAMFN_CONFORMANCE", "").split(":") if name]
WAYS = {
    "generated": Way(),
    "closures": Way(generated=False),
    "restarts": Way(restarts=1),
    "rare commits": Way(commit_interval_ms=1_000_000),
    "rare commits and restarts": Way(commit_interval_ms=1_000_000, restarts=2),
}


def grouped() -> dict[str, list[Case]]:
    """Cases by the template they were made from."""
    groups: dict[str, list[Case]] = defaultdict(list)
    for path in (SHARED, *MORE):
        for case in read_cases(path) if path.exists() else ():
            groups[case.group].append(case)
    return groups


GROUPS = grouped()


@pytest.mark.parametrize("path", [SHARED, *MORE], ids=lambda path: path.name)
def test_cases_are_there(path: Path) -> None:
    """A file of cases that is asked for is there, and has cases."""
    if not path.exists():
        pytest.skip(f"no cases at {path}: STREAMFN_CONFORMANCE names the file")
    assert list(read_cases(path))


@pytest.mark.parametrize("group", GROUPS)
def test_answers_are_those_of_kafka_streams(group: str) -> None:
    """Each case of a template is answered as recorded."""
    failed = [verdict for case in GROUPS[group] if not (verdict := judge(case)).passed]
    shown = "\n".join(f"{verdict.case.id}: {verdict.report}" for verdict in failed[:3])
    assert not failed, f"{len(failed)} of {len(GROUPS[group])} differ\n{shown}"


@pytest.mark.parametrize("way", [name for name in WAYS if name != "generated"])
def test_no_way_of_running_changes_an_answer(way: str) -> None:
    """A few cases of each template, by the other compiler, over restarts, with rare commits."""
    chosen = [case for cases in GROUPS.values() for case in cases[::10] if can_run(case, WAYS[way])]
    failed = [verdict for case in chosen if not (verdict := judge(case, WAYS[way])).passed]
    shown = "\n".join(f"{verdict.case.id}: {verdict.report}" for verdict in failed[:3])
    assert not failed, f"{len(failed)} of {len(chosen)} differ\n{shown}"


def simple_case() -> Case:
    """A case that passes: its values get a prefix."""
    return next(case for case in GROUPS["merge_topics"] if len(case.output) > 3)


def mutations(answers: list[Answer]) -> dict[str, list[Answer]]:
    """Wrong answers, each by one thing."""
    first, *rest = answers
    return {
        "key": [replace(first, key="another"), *rest],
        "value": [replace(first, value=None), *rest],
        "time": [replace(first, ts=first.ts + 1), *rest],
        "step": [replace(first, after=first.after + 1), *rest],
        "topic": [replace(first, topic="another"), *rest],
        "missing": rest,
        "twice": [first, first, *rest],
        "header": [replace(first, headers=(("name", "value"),)), *rest],
    }


@pytest.mark.parametrize("what", mutations([Answer(0, "out", "a", "b", 0)] * 2))
def test_a_wrong_answer_is_seen(what: str) -> None:
    """Whatever is wrong with it, and the report says where."""
    case = simple_case()
    assert judge_answers(case, case.output).passed
    verdict = judge_answers(case, mutations(case.output)[what])
    assert not verdict.passed
    assert verdict.report.startswith("step ")


def test_rules_forgive_what_they_say() -> None:
    """Order in a step counts, counts per key, or does not count."""
    one, two = Answer(0, "out", "a", "1", 0), Answer(0, "out", "b", "1", 0)
    three = replace(one, value="2")
    assert first_difference("ordered", [one, two], [two, one]) == (0, "out")
    assert first_difference("per_key", [one, two], [two, one]) is None
    assert first_difference("per_key", [one, three], [three, one]) == (0, "out")
    assert first_difference("multiset", [one, three], [three, one]) is None
    assert first_difference("multiset", [one, one], [one]) == (0, "out")


def test_answers_without_steps_are_spread() -> None:
    """What was read at the end is compared step by step all the same."""
    wanted = [Answer(1, "out", "a", "1", 0), Answer(3, "out", "a", "2", 0)]
    got = [replace(answer, after=0) for answer in wanted]
    assert in_steps_of(wanted, got) == wanted
    assert in_steps_of(wanted, [*got, got[0]])[-1].after > 3


def test_a_case_that_raises_has_failed() -> None:
    """With its error, and the others run on."""
    case = simple_case()
    broken = replace(case, ops=[replace(case.ops[0], op="unheard_of"), *case.ops[1:]])
    verdict = judge(broken)
    assert not verdict.passed
    assert "unheard_of" in verdict.report


def test_exit_code_and_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1 if a case fails, with the count in the last line; 0 if none does; 2 for no cases."""
    case = simple_case()
    right = tmp_path / "right.jsonl"
    right.write_bytes(msgspec_json.encode(case) + b"\n")
    wrong = tmp_path / "wrong.jsonl"
    mutated = replace(case, output=mutations(case.output)["value"])
    wrong.write_bytes(msgspec_json.encode(mutated) + b"\n")
    assert main([str(right)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "conformance: 1 of 1 cases"
    assert main([str(right), str(wrong)]) == 1
    written = capsys.readouterr().out
    assert written.splitlines()[-1] == "conformance: 1 of 2 cases"
    assert "wanted" in written
    assert "got" in written
    assert main([str(right), "--case", "unheard_of"]) == 2
    assert main([str(tmp_path / "missing.jsonl")]) == 2
    assert "missing.jsonl" in capsys.readouterr().err


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """With its place; a case with a parameter that nobody knows fails."""
    path = tmp_path / "cases.jsonl"
    whole = msgspec_json.encode(simple_case()).decode()
    path.write_text(whole + "\n" + whole.replace('"topic"', '"tropic"', 1) + "\n")
    right, wrong = (judge(case) for case in read_cases(path))
    assert right.passed
    assert not wrong.passed
    assert re.search(r"cases\.jsonl:2 is no case.*tropic", wrong.report)
    path.write_text("id,features\n")
    with pytest.raises(CaseError, match=r"cases\.jsonl:1 is no case"):
        list(read_cases(path))


def test_functions_are_the_recorded_ones() -> None:
    """A sample of each, nulls and what is no number included."""
    assert [mapper("mod:3")(value) for value in ("-1", "x", None)] == ["m2", "x", None]
    assert [mapper("inc")(value) for value in ("-1", "+1", "", None)] == ["0", "2", "", None]
    assert [mapper("first")(value) for value in ("ab", "", None)] == ["a", "", None]
    assert [mapper("null_if:a")(value) for value in ("a", "b", None)] == [None, "b", None]
    assert [mapper("prefix:p-")(value) for value in ("a", None)] == ["p-a", None]
    assert of_record("key.len")("abc", "x") == "3"
    assert [predicate("gt:2")(None, value) for value in ("3", "2", "x", None)] == [
        True, False, False, False,
    ]  # fmt: skip
    assert REDUCERS["concat"](None, "a") == "null,a"
    assert [REDUCERS["max"]("3", value) for value in ("4", "2", "x")] == ["4", "3", "3"]
    assert REDUCERS["null_on_zero"]("1", "-1") is None
