"""How often each word came: the smallest topology that keeps state.

    lines ──▶ words ──▶ by word ──▶ word_count ──▶ word-counts

Lines are JSON objects, one a line, such as {"text": "to be or not to be"}:

    $ streamfn produce lines --from hamlet.jsonl --app topologies/wordcount.py
    $ streamfn run topologies/wordcount.py --until-end
    $ streamfn state word_count-count be --app topologies/wordcount.py

Invariant: the counts on ``word-counts`` of one word go up by one, without gap or double.
"""

import re
from collections.abc import Iterator

import msgspec

import streamfn as sf

SHOWN = 10

app = sf.App("wordcount")


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line of some text."""

    text: str


lines = app.topic("lines", key=str, value=Line)
word_counts = app.topic("word-counts", key=str, value=int)


def words(line: Line) -> Iterator[str]:
    """Split a line into its words, in lower case."""
    for match in re.finditer(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*", line.text):
        yield match[0].lower()


each_word = app.stream(lines).flat_map_values(words, value=str)


@app.function(each_word.key_by(lambda word: word), to=word_counts)
def word_count(word: str, count: sf.Value[int]) -> int:
    """Counts one more of a word."""
    count.value += 1
    return count.value


@app.report
def report(results: sf.Results) -> None:
    """Prints the most frequent words."""
    from rich.console import Console

    counts: dict[str, int] = results.state(word_count, "count")
    console = Console(highlight=False, markup=False)
    for word in sorted(counts, key=lambda word: (-counts[word], word))[:SHOWN]:
        console.print(f"{counts[word]:>8,}  {word}")
