"""From an output back to its input: the walk, and the verb that shows it."""

import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamfn.clock import ManualClock, SystemClock, SystemRandom
from streamfn.connectors.embedded import EmbeddedLog, open_embedded
from streamfn.database import Memory, Space
from streamfn.errors import ConfigError
from streamfn.graph.roots import PROVENANCE_HEADER, ROOT_HEADER
from streamfn.record import Columns, Headers, TopicPartition
from streamfn.replay.trace import (
    Hop,
    Place,
    Reader,
    TraceError,
    check_start,
    made_of,
    root_of,
    walk,
    why_gone,
)
from tests.unit.cli_shell import Shell, open_shell

ON = ("-o", "provenance=true")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in an empty folder."""
    with open_shell(tmp_path, monkeypatch) as opened:
        yield opened


# what headers say
def test_headers_are_read() -> None:
    """What the engine writes; the last of a name, as what stood before is another's."""
    first = (PROVENANCE_HEADER, b"theirs 0 x 0 1")
    made = made_of((first, (PROVENANCE_HEADER, b"count 1a2b orders 2 17")))
    assert made is not None
    assert (made.stage, made.version, str(made.of)) == ("count", "1a2b", "orders[2]@17")
    root = root_of(((ROOT_HEADER, b"flights 0 12 1000 .0 .3"),))
    assert root is not None
    assert (str(root.place), root.timestamp_ms) == ("flights[0]@12", 1000)
    assert made_of(()) is None
    assert root_of(()) is None
    timer = made_of(((PROVENANCE_HEADER, b"count 1a2b - 0 -1"),))
    assert timer is not None
    assert timer.of is None


@pytest.mark.parametrize("text", [b"", b"count", b"a b c d e", b"a b c 1 e", b"a b c 1 2 3"])
def test_headers_of_others_are_told(text: bytes) -> None:
    """Whoever writes names of ours is asked about it."""
    with pytest.raises(TraceError, match="does not read as what the engine writes"):
        made_of(((PROVENANCE_HEADER, text),))


@pytest.mark.parametrize("text", [b"", b"a 0 1", b"a x 1 5", b"a 0 1 then"])
def test_roots_of_others_are_told(text: bytes) -> None:
    """Likewise."""
    with pytest.raises(TraceError, match=re.escape(ROOT_HEADER)):
        root_of(((ROOT_HEADER, text),))


# the walk
class Topics:
    """A log in memory with records that say what a test wants."""

    def __init__(self, *names: str) -> None:
        disk: dict[str, Space] = {}
        random = SystemRandom()
        self.log = EmbeddedLog(lambda: Memory([], disk), clock=ManualClock(), random=random)
        for name in names:
            self.log.create_topic(name, 2, {})
        self.log.open_producer()
        self.reader = Reader(self.log, ManualClock())

    def add(self, topic: str, *headers: Headers) -> None:
        """Write a record for each, to the first partition."""
        columns = Columns.empty()
        for row, given in enumerate(headers):
            columns.add(b"k", b"%d" % row, row, given)
        self.log.begin()
        self.log.emit(topic, 0, columns)
        self.log.flush()
        self.log.commit()

    def walk(self, topic: str, offset: int, depth: int | None = None) -> list[Hop]:
        """All hops from a record on."""
        place = Place(TopicPartition(topic, 0), offset)
        return list(walk(self.reader.find, self.reader.find(place), depth))

    def trim(self, topic: str, before: int) -> None:
        """Take away what a partition began with."""
        self.log.delete_records(TopicPartition(topic, 0), before)


def by(stage: str, topic: str, offset: int, root: str = "") -> Headers:
    """What a record says that was made by a stage of a record."""
    made = (PROVENANCE_HEADER, f"{stage} 1a2b {topic} 0 {offset}".encode())
    return ((ROOT_HEADER, root.encode()), made) if root else (made,)


def path(hops: list[Hop]) -> list[tuple[str, str]]:
    """Where a walk came by, and why it ended there."""
    return [(str(hop.found.place), hop.ended) for hop in hops]


@pytest.fixture
def chained() -> Topics:
    """Outputs of a repartition topic, of an input; and a timer's."""
    topics = Topics("in", "again", "out")
    topics.add("in", (), ())
    topics.add("again", by("key", "in", 0, "in 0 0 5 .0"), by("key", "in", 1, "in 0 1 6 .0"))
    topics.add(
        "out",
        by("count", "again", 0, "in 0 0 5 .0"),
        by("count", "again", 1, "in 0 1 6 .0"),
        by("count", "-", -1),
    )
    return topics


def test_it_goes_back_to_the_source(chained: Topics) -> None:
    """Through the repartition topic, to the record that says nothing of its making."""
    hops = chained.walk("out", 1)
    assert path(hops) == [("out[0]@1", ""), ("again[0]@1", ""), ("in[0]@1", "source")]
    assert [hop.made.stage for hop in hops if hop.made] == ["count", "key"]
    assert not any(hop.by_root for hop in hops)


def test_what_is_trimmed_is_jumped_over(chained: Topics) -> None:
    """The root, which the output bears as well, says where it came in."""
    chained.trim("again", 1)
    hops = chained.walk("out", 0)
    assert path(hops) == [("out[0]@0", ""), ("again[0]@0", "gone"), ("in[0]@0", "source")]
    assert [hop.by_root for hop in hops] == [False, False, True]
    assert (hops[1].found.gone, hops[1].found.first) == ("trimmed", 1)
    chained.trim("in", 1)
    assert path(chained.walk("out", 0))[-1] == ("in[0]@0", "gone")


def test_a_deleted_topic_is_jumped_over(chained: Topics) -> None:
    """As what is trimmed."""
    chained.log.delete_topic("again")
    assert path(chained.walk("out", 1))[1:] == [("again[0]@1", "gone"), ("in[0]@1", "source")]


def test_a_root_alone_shows_the_way(chained: Topics) -> None:
    """A repartition topic bears roots also without provenance."""
    chained.add("again", ((ROOT_HEADER, b"in 0 1 6 .0"),))
    hops = chained.walk("again", 2)
    assert path(hops) == [("again[0]@2", "source"), ("in[0]@1", "source")]
    assert hops[1].by_root


def test_a_timer_of_the_wall_clock_goes_back_to_nothing(chained: Topics) -> None:
    """It was no record's doing."""
    assert path(chained.walk("out", 2)) == [("out[0]@2", "wall timer")]
    chained.add("again", ((ROOT_HEADER, b"key_0 0 -1 5 .0"),))
    assert path(chained.walk("again", 2)) == [("again[0]@2", "source")]


def test_depth(chained: Topics) -> None:
    """So many steps back, and it is said that there are more."""
    assert path(chained.walk("out", 0, 0)) == [("out[0]@0", "deep")]
    assert path(chained.walk("out", 0, 1)) == [("out[0]@0", ""), ("again[0]@0", "deep")]
    assert len(chained.walk("out", 0, 2)) == len(chained.walk("out", 0)) == 3


def test_a_ring_of_headers_ends() -> None:
    """Headers that others wrote may go back to where they came from."""
    topics = Topics("a")
    topics.add("a", by("s", "a", 1), by("s", "a", 0))
    assert path(topics.walk("a", 0)) == [("a[0]@0", ""), ("a[0]@1", "ring")]


@pytest.mark.parametrize(
    ("topic", "partition", "offset", "says"),
    [
        ("none", 0, 0, "there is no topic 'none'"),
        ("in", 2, 0, "topic 'in' has no partition 2"),
        ("in", 0, 2, r"in\[0\] ends before offset 2; .*consume in --partition 0"),
        ("in", 1, 0, r"in\[1\] holds no records"),
        ("again", 0, 0, r"again\[0\] begins at offset 1 now"),
    ],
)
def test_what_cannot_be_traced(
    chained: Topics, topic: str, partition: int, offset: int, says: str
) -> None:
    """What is there instead is said."""
    chained.trim("again", 1)
    found = chained.reader.find(Place(TopicPartition(topic, partition), offset))
    with pytest.raises(ConfigError, match=says):
        check_start(found)


def test_an_offset_without_a_record_is_told() -> None:
    """On the embedded log compaction leaves such; on a Kafka also the ends of transactions."""
    topics = Topics("a")
    topics.log.create_topic("kept", 1, {"cleanup.policy": "compact"})
    place = Place(TopicPartition("kept", 0), 0)
    topics.add("kept", (), ())
    found = topics.reader.find(place)
    assert found.record is not None
    assert why_gone(found) == "it is"
    without: Any = _Without(topics.log, 0)
    gone = Reader(without, ManualClock()).find(place)
    assert gone.gone == "marker"
    assert "a transaction's marker" in why_gone(gone)


class _Without:
    """A log whose partition has no record at an offset."""

    def __init__(self, log: EmbeddedLog, offset: int) -> None:
        self._log, self._offset = log, offset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, source: TopicPartition, start: int, end: int) -> Iterator[Any]:
        """Begin behind it, as a Kafka does."""
        assert start == self._offset
        yield from self._log.read(source, start + 1, end)


# the verb
@contextmanager
def log_of(folder: Path) -> Generator[EmbeddedLog]:
    """The log of the program that counts words."""
    log = open_embedded(
        folder / ".streamfn" / "words" / "log", clock=SystemClock(), random=SystemRandom()
    )
    yield log
    log.close()


def test_the_path_is_a_tree(shell: Shell) -> None:
    """Output, repartition topic, input: places, times, keys, values, stages and versions."""
    name = shell.program(policy=', on_error="dead_letter"')
    shell.lines(["a b", "bad c"])
    shell("run", name, "--until-end", *ON)
    described = shell("describe", name).stdout
    (version,) = re.findall(r"^code version ([0-9a-f]{12})$", described, re.MULTILINE)
    assert json.loads(shell("describe", name, "--json").stdout)["version"] == version
    lines = shell("trace", "counts", "0", "0", "--app", name).stdout.splitlines()
    assert re.fullmatch(r"counts\[0\]@0  [-\d]+ [\d:.]+Z  \w  1", lines[0])
    assert lines[1] == f"└─ by count, version {version}"
    assert re.fullmatch(r"   words-lines-by-value-repartition\[\d\]@\d  .*Z  (\w)  \1", lines[2])
    assert lines[3] == f"   └─ by lines-by-value, version {version}"
    assert re.fullmatch(r'      lines\[\d\]@0  .*Z  .*  {"text": "[^"]*", "number": \d}', lines[4])
    assert lines[5:] == ["      └─ here it came in: it bears no provenance"]
    dead = shell("trace", "words-dead-letters", "0", "0").stdout
    assert "words-lines-by-value-repartition" in dead
    assert "it came in here, or without streamfn run … -o provenance=true" in dead


def test_as_json(shell: Shell) -> None:
    """The same for programs."""
    name = shell.program()
    shell.lines(["a"])
    shell("run", name, "--until-end", *ON)
    told = json.loads(shell("trace", "counts", "0", "0", "--app", name, "--json").stdout)
    assert [step["topic"] for step in told["path"]] == [
        "counts", "words-lines-by-value-repartition", "lines",
    ]  # fmt: skip
    first, _, last = told["path"]
    assert first["version"] == told["version"]
    assert (first["stage"], first["value"], first["held"]) == ("count", 1, True)
    assert first["root"] == {"topic": "lines", "partition": last["partition"], "offset": 0}
    assert last["value"] == {"text": "a", "number": 0}
    assert last["ended"] == "source"
    assert json.loads(shell("trace", "counts", "0", "0", "--json").stdout)["version"] is None


def test_what_is_gone_is_told(shell: Shell) -> None:
    """A trimmed repartition topic with its first offset, and how it goes on all the same."""
    name = shell.program()
    shell.lines(["a a"])
    shell("run", name, "--until-end", *ON)
    again = "words-lines-by-value-repartition"
    with log_of(shell.folder) as log:
        sources = [TopicPartition(again, number) for number in range(2)]
        ends = log.end_offsets(sources)
        for source in sources:
            log.delete_records(source, ends[source])
    said = shell("trace", "counts", "0", "0", "--app", name).stdout
    assert re.search(
        rf"{again}\[(\d)\]@0\n   └─ gone: {again}\[\1\] begins at offset 2 now; "
        r"its root says lines\[(\d)\]@0\n      lines\[\2\]@0  ",
        said,
    )
    (_, step, _) = json.loads(shell("trace", "counts", "0", "0", "--json").stdout)["path"]
    assert (step["held"], step["first_offset"], step["ended"]) == (False, 2, "gone")


def test_another_version_is_told(shell: Shell) -> None:
    """What was made by code that is not the program's now."""
    name = shell.program()
    shell.lines(["a"])
    shell("run", name, "--until-end", *ON)
    Path("later.py").write_text(Path(name).read_text().replace("+= 1", "+= 2"))
    said = shell("trace", "counts", "0", "0", "--app", "later.py", "--depth", "1").stdout
    assert said.count("(another version than the program's now, ") == 2
    assert said.endswith("└─ not followed any further: --depth\n")
    Path("later.py").write_text(Path(name).read_text().replace("def count", "def counted"))
    said = shell("trace", "counts", "0", "0", "--app", "later.py").stdout
    assert "a stage that the program has no more" in said


def test_without_provenance_it_says_what_to_switch_on(shell: Shell) -> None:
    """What was written without it cannot be traced."""
    name = shell.program()
    shell.lines(["a"])
    shell("run", name, "--until-end")
    said = shell("trace", "counts", "0", "0", "--app", name).stdout
    assert "written without it; switch it on: streamfn run … -o provenance=true" in said


def test_what_is_not_there(shell: Shell) -> None:
    """One line, with what there is."""
    name = shell.program()
    shell.lines(["a"])
    shell("run", name, "--until-end", *ON)
    assert "does not exist; the log has counts" in shell.fails("trace", "no", "0", "0", code=4)
    assert "ends before offset 1" in shell.fails("trace", "counts", "0", "7", code=4)
    assert "no partition 7" in shell.fails("trace", "counts", "7", "0", code=4)


def test_values_of_other_types_are_shown_as_they_look(shell: Shell) -> None:
    """A record that the program's types do not fit is shown all the same, with the reason."""
    name = shell.program()
    shell.lines(["a"])
    shell("run", name, "--until-end", *ON)
    text = Path(name).read_text()
    Path("later.py").write_text(text.replace("number: int", "number: int\n    more: int"))
    said = shell("trace", "counts", "0", "0", "--app", "later.py").stdout
    assert '{"text": "a", "number": 0}  (record at offset 0 of lines' in said


@pytest.mark.parametrize("text", ["true", "Yes", "on", "1"])
def test_the_option_is_a_switch(shell: Shell, text: str) -> None:
    """It is read as people write it; what is neither is refused."""
    name = shell.program(feed="")
    shell("run", name, "--until-end", "-o", f"provenance={text}")
    said = shell.fails("run", name, "-o", "provenance=maybe", code=4)
    assert "option 'provenance' does not fit; got 'maybe'; give true or false" in said
    assert re.search(r"provenance +false", shell("run", name, "-o", "help").stdout)
