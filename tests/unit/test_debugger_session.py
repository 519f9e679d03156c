"""The debugger's session: commands from a file, as somebody types them."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

import re
from pathlib import Path
from typing import Any

import pytest

import streamfn as sf
from streamfn.cli.debugger import wanted
from streamfn.errors import ConfigError, SerdeError
from streamfn.graph.topology import UNKNOWN
from streamfn.windowed import Windowed
from tests.replay_world import MemoryInputs, placed
from tests.unit import debugger_world
from tests.unit.debugger_world import Shop, sales, session


def plain(text: str) -> str:
    """Text with single spaces, so that columns do not matter."""
    return " ".join(text.split())


# going through calls
def test_it_stops_at_the_first_line_with_the_record_and_the_state() -> None:
    """What is there before anything has happened."""
    said = session(Shop().topology, sales(6, "a"), "q")
    assert "call 1 of 6 stage sell key 'a' sales[0]@0 1970-01-01 00:00:00.000Z" in plain(said)
    assert 'record 0 total {"amount": 0, "last": ""} (new) days 0 entries' in plain(said)
    assert "price.get('a') 1" in plain(said)
    assert "-> if amount == shop.wrong:" in said


def test_a_call_runs_line_by_line_to_its_end() -> None:
    """Then its effects are shown, and that they are those of the replay."""
    said = session(Shop().topology, sales(6, "a"), "fw", "n", "p amount", "n", "c", "q")
    assert "-> total.value.amount += amount\n(call 2) p amount\n1\n" in said
    assert "state total.amount 0 → 1" in plain(said)
    assert "state days['today'][1] (absent) → 1" in plain(said)
    assert "answer to out 'a' 1" in plain(said)
    assert "VERIFIED: the same as in the replay\n(call 2, ended) q" in said


def test_forth_back_and_to_a_number() -> None:
    """From within a call, and from its end; beyond both ends there is nothing."""
    said = session(
        Shop().topology, sales(4, "a"), "bk", "fw", "c", "forward", "n", "back", "goto 4", "fw",
        "goto 9", "goto x", "q",
    )  # fmt: skip
    assert re.findall(r"call (\d) of 4", said) == ["1", "2", "3", "2", "4"]
    assert said.count("no such call: they go from 1 to 4") == 4


def test_a_call_can_be_started_again() -> None:
    """From the state that was before it, whatever was changed meanwhile."""
    said = session(
        Shop().topology, sales(4, "a"), "goto 3", "n", "!amount = 70", "c", "restart", "c", "q"
    )
    assert "total.amount 3 → 71" in plain(said)
    assert said.index("differs from the replay:") < said.index("VERIFIED")


def test_breakpoints_hold_for_all_calls() -> None:
    """A breakpoint by line is kept from call to call."""
    lines = Path(debugger_world.__file__).read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "days.get(" in text)
    at = f"{debugger_world.__file__}:{line}"
    said = session(Shop().topology, sales(4, "a"), f"b {at}", "c", "fw", "c", "p day", "q")
    assert said.count('-> day = days.get("today") or []') == 2
    assert "call 1 has ended" in session(Shop().topology, sales(4, "a"), "c"), "it went with it"


def test_steps_pass_our_own_modules_by() -> None:
    """What lies between the user's lines is ours; the stack begins with the function."""
    said = session(Shop().topology, sales(3, "a"), *["s"] * 12, "w", "q")
    assert "streamfn/function" not in said
    assert "bindings.py" not in said
    assert "bdb.py" not in said


def test_a_generator_is_stepped_through() -> None:
    """It goes on behind a yield."""
    said = session(Shop().topology, sales(3, "a"), *["n"] * 14, "q")
    assert "amount += context.random.randrange(9)" in said
    assert "call 1 has ended" in said


def test_the_first_call_that_failed_comes_first() -> None:
    """What was raised is shown with the user's frames; it is verified as well."""
    said = session(Shop(wrong=3).topology, sales(6, "a"), "c", "effects", "q")
    assert re.findall(r"call (\d) of 6", said) == ["4"]
    assert "raised  ValueError: no 3" in said
    assert "raise ValueError(message)" in said
    assert "VERIFIED" in said


def test_it_begins_at_a_time() -> None:
    """At the first call at that time or later."""
    said = session(Shop().topology, sales(6, "a"), "q", at=11)
    assert re.findall(r"call (\d) of 6", said) == ["4"]


def test_timers_that_touch_the_key_are_calls_of_it() -> None:
    """With what they have changed."""
    said = plain(session(Shop().topology, sales(20, "a"), "verify all", *["fw"] * 12, "q"))
    assert "stage sell (timer sell-tidy) 1970" in said
    assert re.search(r"(\d+) of \1 calls VERIFIED", said)


def test_what_happened_in_between_is_said() -> None:
    """The record was skipped further on, and its state undone."""
    app: Any = sf.App("later", on_error="skip")
    numbers: Any = app.topic("numbers", key=str, value=int)

    @app.function(numbers)
    def count(number: int, total: sf.Value[int]) -> int:
        total.value += number
        return total.value

    app.stream(count).map_values(lambda total: 1 // (total - 3), value=int)
    sent = [("numbers", b"a", b"1", at) for at in range(4)]
    inputs = MemoryInputs(placed(sent, 1), {"numbers": 1})
    said = plain(session(app.topology(), inputs, "fw", "fw", "fw", "q", stage="count"))
    assert said.count("changed since") == 1
    assert "changed since call 3: total 3 → 2 call 4" in said


# single commands
def test_the_record_is_shown_whole() -> None:
    """Key, time, place, root."""
    said = plain(session(Shop().topology, sales(3, "a"), "record", "state", "q"))
    assert "place sales, partition 0, offset 0" in said
    assert "root sales, partition 0, offset 0" in said
    assert "context stream time 1970-01-01 00:00:00.000Z" in said


def test_help_names_the_commands() -> None:
    """Ours by heart, pdb's by name."""
    said = session(Shop().topology, sales(3, "a"), "help", "help fw", "help tbreak", "c", "help bk",
                   "q")  # fmt: skip
    for text in ("to the next call of the key", "Go to the next call", "tbreak", "call before"):
        assert text in said


def test_after_the_end_other_commands_are_explained() -> None:
    """An empty line is none."""
    said = session(Shop().topology, sales(3, "a"), "c", "p amount", "", "q")
    assert "p: the call has ended; fw, bk, goto N, restart, q or help" in said


def test_the_end_of_the_commands_is_the_end() -> None:
    """No q is needed, within a call or after it."""
    assert "(call 1) " in session(Shop().topology, sales(3, "a"), "n")
    assert "(call 1, ended) " in session(Shop().topology, sales(3, "a"), "c")


def test_user_code_that_catches_all_does_not_hold_the_session() -> None:
    """Leaving a call is no error of the user's."""
    app: Any = sf.App("catching")
    numbers: Any = app.topic("numbers", key=str, value=int)

    @app.function(numbers)
    def catch(number: int, total: sf.Value[int]) -> int:
        try:
            total.value += number
            number += 1
        except Exception:
            number = 0
        return number

    sent = [("numbers", b"a", b"1", at) for at in range(3)]
    inputs = MemoryInputs(placed(sent, 1), {"numbers": 1})
    said = session(app.topology(), inputs, "n", "n", "fw", "n", "n", "q", stage="catch")
    assert re.findall(r"call (\d) of 3", said) == ["1", "2"]


def test_what_is_no_python_runs_at_once() -> None:
    """There is no line to stop at, and its effects are shown."""
    app: Any = sf.App("words")
    lines: Any = app.topic("lines", key=str, value=str)
    words: Any = app.stream(lines).flat_map_values(str.split, value=str, name="words")
    words.to(app.topic("words", key=str, value=str))
    inputs = MemoryInputs(placed([("lines", b"a", b'"x y"', 0)], 1), {"lines": 1})
    said = session(app.topology(), inputs, "q", stage="words")
    assert "there is no line of Python to stop at" in said
    assert "VERIFIED" in said


# without a session
def test_the_history_is_a_table() -> None:
    """Call, time, record, answer, state after."""
    said = plain(session(Shop(wrong=2).topology, sales(4, "a"), interactive=False))
    assert "call time record answer state after" in said
    assert "3 1970-01-01 00:00:00.010Z 2 raised ValueError: no 2" in said
    assert "4 1970-01-01 00:00:00.015Z 3 to out 'a' 4" in said


def test_without_commands_all_calls_are_printed() -> None:
    """What is piped nowhere is still useful."""
    said = session(Shop().topology, sales(3, "a"))
    assert re.findall(r"call (\d) of 3", said) == ["1", "2", "3"]
    assert said.count("answer") >= 6


def test_a_key_that_never_came_is_told_with_near_ones() -> None:
    """Or with the most frequent."""
    with pytest.raises(ConfigError, match=r"never called for key 'aab'; got 2 other keys.*aa"):
        session(Shop().topology, sales(6, ["aa", "zz"]), key="aab")
    with pytest.raises(ConfigError, match="most often"):
        session(Shop().topology, sales(6), key="?")


def test_no_record_at_all() -> None:
    """Nothing reached the stage."""
    with pytest.raises(ConfigError, match="got no record"):
        session(Shop().topology, sales(0), key="a")


# keys
@pytest.mark.parametrize(
    ("text", "kind", "key", "other"),
    [
        ("AA", str, "AA", "aa"),
        ("7", int, 7, 8),
        ('["a", 1]', tuple[str, int], ("a", 1), ("a", 2)),
        ("a", Windowed[str], Windowed("a", 0, 5), Windowed("b", 0, 5)),
        ("7", UNKNOWN, 7, 8),
        ("ab", UNKNOWN, b"ab", b"ac"),
    ],
)
def test_a_key_is_typed_as_text_or_json(text: str, kind: object, key: Any, other: Any) -> None:
    """By the type of the stage's keys; of windows, the key inside."""
    means = wanted(text, kind)
    assert means(key)
    assert not means(other)


def test_a_key_of_another_type_is_refused() -> None:
    """It can be no int."""
    with pytest.raises(SerdeError, match="is no"):
        wanted("x", int)
