"""The command line on a real Kafka: topics, state, loading, reset, and the least rights."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.client import Client
from tests.kafka_settings import Address, free_port
from tests.unit.cli_shell import Shell, open_shell, rows_of

PROGRAM = """
import msgspec
import streamfn as sf

app = sf.App("{name}", on_error="dead_letter")

class Line(msgspec.Struct):
    text: str

lines = app.topic("{name}.lines", key=str, value=Line, partitions=2)
counts = app.topic("{name}.counts", key=str, value=int)
{feed}
words = app.stream(lines).flat_map_values(lambda line: line.text.split(), value=str)

@app.function(words.key_by(lambda word: word), to=counts)
def count(word: str, total: sf.Value[int]) -> int:
    if word == "bad":
        raise ValueError("a bad word")
    total.value += 1
    return total.value
"""
QUICK = ("-o", "consumer.session.timeout.ms=6000")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in an empty folder."""
    with open_shell(tmp_path, monkeypatch) as opened:
        yield opened


class Words:
    """The program that counts words, under a name of its own, on a Kafka."""

    def __init__(
        self, shell: Shell, name: str, address: Address, user: str = "", feed: str = ""
    ) -> None:
        self.shell, self.name, self.client = shell, name, Client(address)
        Path("words.py").write_text(PROGRAM.format(name=name, feed=feed))
        self.at: tuple[str, ...] = ("--broker", address.bootstrap)
        if user:
            settings = address.settings(user)
            text = "".join(f"{key}={value}\n" for key, value in settings.items())
            Path(f"{user}.properties").write_text(f"# {user}\n{text}")
            self.at += ("--kafka-config", f"{user}.properties")

    def __call__(self, *words: str, code: int = 0) -> str:
        """Run a verb for the program; return what it says."""
        return self.shell(*words, "--app", "words.py", *self.at, code=code).stdout

    def run(self, *options: str) -> str:
        """Run the program to the end of its input; return what it notes on the way."""
        result = self.shell("run", "words.py", "--until-end", *self.at, *QUICK, *options)
        return result.stderr

    def fails(self, *words: str, code: int) -> str:
        """Run a verb that fails; return its one line."""
        return self.shell.fails(*words, *self.at, code=code)

    def load(self, texts: list[str]) -> str:
        """Load lines into the input."""
        Path("lines.csv").write_text("text\n" + "".join(f"{text}\n" for text in texts))
        return self("produce", f"{self.name}.lines", "--from", "lines.csv", "--key", "text")

    def state(self) -> dict[str, int]:
        """The counts in the store."""
        rows = rows_of(self.shell("state", "count-total", "--app", "words.py", "--json", *self.at))
        return {row["key"]: row["value"] for row in rows}


@pytest.fixture
def words(shell: Shell, name: str, broker: Address) -> Words:
    """The program, with its topics."""
    made = Words(shell, name, broker)
    made("topics", "create")
    return made


def test_topics_are_created_verified_and_listed(shell: Shell, name: str, broker: Address) -> None:
    """First all are missing, then all are right; a second creation has nothing to do."""
    words = Words(shell, name, broker)
    assert words("topics", "verify", code=4).count("error: ") == 6
    said = words("topics", "create")
    assert f"created {name}.lines, partitions 2" in said
    assert f"created {name}-tasks, partitions 2" in said
    assert "6 topics right" in words("topics", "verify")
    assert words("topics", "create") == "all topics are there\n"
    client = words.client
    client.create(f"{name}-eu-total-changelog", 1, {})
    client.create(f"{name}-eu-tasks", 1, {})
    rows = rows_of(shell("topics", "list", "--application", name, "--json", *words.at))
    own = ("tasks", "dead-letters", "count-total-changelog", f"{name}.lines-by-value-repartition")
    assert sorted(row["topic"] for row in rows) == sorted(f"{name}-{rest}" for rest in own)


def test_verify_says_what_is_wrong(shell: Shell, name: str, broker: Address) -> None:
    """A width, a policy, a retention: each with what was got and the command that cures it."""
    words = Words(shell, name, broker)
    create = words.client.create
    create(f"{name}.lines", 2, {})
    create(f"{name}.counts", 1, {"retention.ms": "3600000"})
    create(f"{name}-{name}.lines-by-value-repartition", 2, {"retention.ms": "1000"})
    create(f"{name}-count-total-changelog", 3, {})
    create(f"{name}-dead-letters", 1, {"retention.ms": "-1", "retention.bytes": "1000000000"})
    create(f"{name}-old-changelog", 1, {"cleanup.policy": "compact"})
    create(f"{name}-tasks", 1, {})
    said = words("topics", "verify", code=4)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    for part in (
        "has 3 partitions; the topology needs 2; restore the old",
        "would lose state; got cleanup.policy=delete; set it: kafka-configs.sh --alter",
        "would lose unread records; got retention.ms=1000; set it",
        "would lose unread records; got retention.bytes=1000000000; set it",
        "-tasks' has 1 partition; the topology needs 2",
    ):
        assert any(part in line for line in errors), (part, errors)
    assert len(errors) == 5
    assert "hint: internal topic" in said
    assert f"streamfn reset --topic {name}-old-changelog" in said
    assert said.endswith("2 topics right, 5 errors\n")
    rows = rows_of(shell("topics", "verify", "--app", "words.py", "--json", *words.at, code=4))
    assert [row["severity"] for row in rows].count("error") == 5


def test_an_application_on_kafka_is_looked_at_and_reset(words: Words) -> None:
    """Load, run, look, reset, run again: the same answers twice over, counted once in the state."""
    name = words.name
    assert words.load(["a b", "b c", "c c"]).startswith("3 rows of lines.csv loaded into")
    assert words.load(["a b", "b c", "c c"]).startswith("already loaded: lines.csv up to line 4")
    words.run()
    assert words.state() == {"a": 1, "b": 2, "c": 3}
    assert "count-total  3 keys" in words("state")
    counts = rows_of(words.shell("consume", f"{name}.counts", "--application", name, *words.at))
    assert sorted((row["key"], row["value"]) for row in counts) == [
        *(("a", 1), ("b", 1), ("b", 2), ("c", 1), ("c", 2), ("c", 3)),
    ]
    last = words.shell(
        "consume", f"{name}.counts", "--offset", "-2", "--app", "words.py", *words.at
    )
    assert rows_of(last) == counts[-2:]
    listed = rows_of(words.shell("topics", "list", "--app", "words.py", "--json", *words.at))
    purposes = {row["topic"]: row["purpose"] for row in listed}
    assert purposes[f"{name}.lines"] == "source"
    assert purposes[f"{name}-tasks"] == "tokens"
    assert "counts" not in words.fails("reset", name, "--yes", code=4)
    said = words("reset", "--yes")
    assert "stores on other machines are dropped when a worker starts there" in said
    assert "state: application" not in words("state")
    words.run()
    assert words.state() == {"a": 1, "b": 2, "c": 3}
    counts = rows_of(words.shell("consume", f"{name}.counts", "--application", name, *words.at))
    assert len(counts) == 12


def test_reset_is_refused_while_workers_run(words: Words) -> None:
    """Taking the topics from under a worker would lose what it is at."""
    words.load(["a b"])
    with (
        Path("errors").open("w") as errors,
        words.shell.start("run", "words.py", *words.at, *QUICK, errors=errors) as process,
    ):
        while not words.state():
            assert process.poll() is None, Path("errors").read_text()
        error = words.fails("reset", "--app", "words.py", "--yes", code=4)
        assert f"application {words.name!r} is at work; its group has 1 member, streamfn" in error
        error = words.fails("reset", "--app", "words.py", "--store", "count-total", code=4)
        assert "is at work" in error
        process.terminate()
        assert process.wait(120) == 0
    words("reset", "--yes")


def test_a_store_is_reset_alone(words: Words) -> None:
    """Its changelog goes, positions stay: what was counted is not counted again."""
    words.load(["a b"])
    words.run()
    assert "it has count-total" in words.fails(
        "reset", "--app", "words.py", "--store", "x", "--yes", code=4
    )
    assert "not internal" in words.fails(
        "reset", "--app", "words.py", "--topic", f"{words.name}.lines", "--yes", code=4
    )
    words("reset", "--store", "count-total", "--yes")
    words.run()
    assert words.state() == {}


def test_produce_needs_a_topic_that_is_there(words: Words) -> None:
    """On a Kafka a topic is made only if its width was said."""
    Path("rows.jsonl").write_text('{"a": 1}\n')
    load = ("produce", f"{words.name}.rows", "--from", "rows.jsonl", "--application", words.name)
    error = words.fails(*load, code=4)
    assert error.endswith("or give --partitions N to have it made")
    assert "1 row of" in words.shell(*load, "--partitions", "3", *words.at).stdout
    assert words.client.topics()[f"{words.name}.rows"] == 3


def test_old_rows_are_warned_of(words: Words) -> None:
    """A broker deletes records that are older than their topic keeps any."""
    Path("rows.jsonl").write_text('{"a": 1, "at": "2013-01-01T00:00:00Z"}\n')
    load = ("produce", f"{words.name}.rows", "--from", "rows.jsonl", "--application", words.name)
    result = words.shell(*load, "--timestamp", "at", "--partitions", "1", *words.at)
    assert "keeps records for 7 days only; got records of 2013-01-01" in result.stderr


# who does not answer
def test_verbs_say_that_no_broker_answers(shell: Shell) -> None:
    """One line, with the address and for how long it was tried."""
    Path("words.py").write_text(PROGRAM.format(name="nowhere", feed=""))
    address = f"127.0.0.1:{free_port()}"
    words = ("topics", "verify", "--app", "words.py", "--broker", address)
    error = shell.fails(*words, "-o", "connect_timeout_ms=1000", code=7)
    assert f"broker {address} does not answer" in error
    assert "Connection refused" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("state", "--broker", "x:1"), "--app TARGET, or --application NAME"),
        (("state", "--kafka-config", "none"), "'none' cannot be read; got No such file"),
        (("state", "--kafka-config", "empty"), "got no broker; give --broker HOST:PORT"),
        (("state", "--kafka-config", "bad"), "line 2 of --kafka-config 'bad' is no setting"),
        (("state", "--kafka-config", "own", "--application", "x"), "'kafka.group.id' is refused"),
    ],
)
def test_wrong_settings_are_told(shell: Shell, words: tuple[str, ...], said: str) -> None:
    """One line each, and never the value: it may be a password."""
    Path("empty").write_text("\n# nothing\n")
    Path("bad").write_text("bootstrap.servers=x:1\nsasl.password hunter2\n")
    Path("own").write_text("bootstrap.servers=x:1\ngroup.id = hunter2\n")
    error = shell.fails(*words, code=4)
    assert said in error
    assert "hunter2" not in error


# rights
def grant(words: Words, user: str, *options: str, but: str = "") -> None:
    """Give a user what ``streamfn acls`` writes, perhaps without one line."""
    principal = ("--principal", f"User:{user}")
    rows = rows_of(words.shell("acls", "words.py", *principal, "--json", *options))
    assert but in ["", *(row["purpose"] for row in rows)]
    words.client.grant(
        user,
        [
            (kind_of(row["resource"]), row["name"], row["pattern"] == "prefixed", constant(each))
            for row in rows
            if row["purpose"] != but
            for each in row["operations"]
        ],
    )


def kind_of(resource: str) -> str:
    """A kind of resource as the administration's constants name it."""
    return resource.upper().replace("-", "_")


def constant(operation: str) -> str:
    """An operation as the administration's constants name it."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", operation).upper()


@pytest.fixture
def guarded(shell: Shell, name: str, authorized_broker: Address) -> tuple[Words, Words]:
    """The program as the administrator has it, with its own topics, and as the worker has it."""
    Path("lines.csv").write_text("text\na b\nbad c\n")
    feed = 'app.feed(lines, "lines.csv", key="text")'
    admin = Words(shell, name, authorized_broker, "admin", feed)
    admin.client.create(f"{name}.lines", 2, {})
    admin.client.create(f"{name}.counts", 1, {})
    return admin, Words(shell, name, authorized_broker, "worker", feed)


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ((), ()),
        (("--prefixed",), ()),
        (("-o", "internal_topics=verify"), ("-o", "internal_topics=verify")),
        (("-o", "guarantee=at_least_once"), ("-o", "guarantee=at_least_once")),
    ],
)
def test_the_rights_suffice(
    guarded: tuple[Words, Words], said: tuple[str, ...], options: tuple[str, ...]
) -> None:
    """With these rights and no others a program with all kinds of topics runs through."""
    admin, worker = guarded
    grant(admin, "worker", *said)
    if "internal_topics=verify" in said:
        assert "streamfn topics create" in worker.fails(
            "run", "words.py", "--until-end", *options, code=4
        )
        admin("topics", "create")
    notes = worker.run(*options, "-o", "repartition_trim_interval_ms=20")
    assert "trimming" not in notes
    assert admin.state() == {"a": 1, "b": 1, "c": 1}
    letters = admin.shell("consume", f"{admin.name}-dead-letters", "--app", "words.py", *admin.at)
    assert len(rows_of(letters)) == 1


@pytest.mark.parametrize(
    ("purpose", "resource"),
    [
        ("input and output", ".lines"),
        ("output", ".counts"),
        ("position", "-position"),
        ("tokens", "-tasks"),
        ("changelog", "-changelog"),
        ("repartition", "-repartition"),
        ("dead letters", "-dead-letters"),
        ("group", ""),
        ("transactions", ""),
    ],
)
def test_no_right_can_be_left_out(
    guarded: tuple[Words, Words], purpose: str, resource: str
) -> None:
    """Without any one line the run ends with one line that names the resource and the cure."""
    admin, worker = guarded
    grant(admin, "worker", but=purpose)
    error = worker.fails("run", "words.py", "--until-end", *QUICK, code=7)
    assert "streamfn acls" in error
    assert resource in error
