"""The word count: its words, its counts, and the same on disk through a restart."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import streamfn as sf
from streamfn.topologies import wordcount as job
from streamfn.topologies.wordcount import Line

TEXT = ("To be, or not to be: that's the question", "42 TIMES the_question", "")
ROOT = Path(__file__).resolve().parent.parent.parent


def test_words() -> None:
    """Case, digits and punctuation do not count; an apostrophe inside a word belongs to it."""
    assert list(job.words(Line("Don't_panic, 42 Dents ÉTÉ"))) == ["don't", "panic", "dents", "été"]


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=5), max_size=6))
def test_counts(lines: list[list[str]]) -> None:
    """The state is the counter of all words; each answer is one more than the last of its word."""
    with sf.testing.TestDriver(job.app) as driver:
        for line in lines:
            driver.send(job.lines, Line(" ".join(line)))
        expected = Counter(word for line in lines for word in line)
        assert driver.state(job.word_count, "count") == expected
        seen = Counter[str]()
        for record in sorted(driver.read(job.word_counts), key=lambda record: record.offset):
            seen[record.key] += 1
            assert record.value == seen[record.key]
        assert seen == expected


def test_from_the_command_line(tmp_path: Path) -> None:
    """Lines that are loaded in two portions are counted on, and the report shows all."""
    shown = ""
    for number, texts in enumerate((TEXT, TEXT[:1])):
        file = tmp_path / f"{number}.jsonl"
        file.write_text("".join(f'{{"text": "{text}"}}\n' for text in texts), encoding="utf-8")
        call("produce", "lines", "--from", str(file), "--app", *place(tmp_path))
        shown = call("run", *place(tmp_path), "--until-end")
    assert "       4  be\n" in shown
    assert "       3  question\n" in shown


def place(tmp_path: Path) -> tuple[str, ...]:
    """The program and its folder."""
    return "topologies/wordcount.py", "--state-dir", str(tmp_path / "state")


def call(*words: str) -> str:
    """Run streamfn and return what it prints."""
    command = [sys.executable, "-m", "streamfn", *words]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
