"""The command line: verbs about topics and rights."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamfn.cli.place import is_internal
from tests.unit.cli_shell import Shell, open_shell, rows_of


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in an empty folder."""
    with open_shell(tmp_path, monkeypatch) as opened:
        yield opened


# verify
def test_verify_embedded(shell: Shell) -> None:
    """What was created is right; a changed program is told what no longer fits, all at once."""
    name = shell.program(feed="")
    assert "nothing under" in shell.fails("topics", "verify", "--app", name, code=4)
    shell("topics", "create", "--app", name)
    said = shell("topics", "verify", "--app", name).stdout
    assert "ok  lines " in said
    assert said.endswith("words under '.streamfn': 5 topics right\n")
    text = Path(name).read_text()
    Path("wider.py").write_text(text.replace("partitions=2", "partitions=3"))
    said = shell("topics", "verify", "--app", "wider.py", code=4).stdout
    assert "topic 'lines' is declared with 3 partitions; got a topic with 2" in said
    assert "words-count-total-changelog' has 2 partitions; the topology needs 3" in said
    Path("renamed.py").write_text(text.replace("seen", "known"))
    rows = rows_of(shell("topics", "verify", "--app", "renamed.py", "--json", code=4))
    told = {row["topic"]: (row["severity"], row["kind"]) for row in rows}
    assert told["words-count-known-changelog"] == ("error", "missing")
    assert told["words-count-seen-changelog"] == ("hint", "unknown")


# acls
def test_acls_are_commands(shell: Shell) -> None:
    """Each line is one command that a shell takes as it is; --json says the same."""
    shell.program()
    words = ("acls", "words.py", "--principal", "User:CN=w, O=x", "--broker", "b:9092")
    text = shell(*words, "--command-config", "my admin.properties").stdout
    commands = [shlex.split(line) for line in text.splitlines() if not line.startswith("#")]
    rows = rows_of(shell(*words, "--json"))
    assert len(commands) == len(rows) == 9
    for command, row in zip(commands, rows, strict=True):
        start = ["kafka-acls.sh", "--bootstrap-server", "b:9092"]
        assert command[:5] == [*start, "--command-config", "my admin.properties"]
        assert command[5:8] == ["--add", "--allow-principal", "User:CN=w, O=x"]
        options = list(zip(command[8::2], command[9::2], strict=True))
        assert [value for key, value in options if key == "--operation"] == row["operations"]
        assert (f"--{row['resource']}", row["name"]) in options
        prefixed = ("--resource-pattern-type", "prefixed") in options
        assert prefixed == (row["pattern"] == "prefixed")
    assert "$BROKER" in shell("acls", "words.py", "--principal", "User:x").stdout
    assert "write User:alice" in shell.fails("acls", "words.py", "--principal", "alice", code=4)


def test_acls_do_not_ask_for_partitions(shell: Shell) -> None:
    """How wide topics are is known to the cluster alone; rights do not depend on it."""
    text = """
import streamfn as sf

app = sf.App("wide")
left = app.topic("left", key=str, value=int, partitions=4)
right = app.topic("right", key=str, value=int)

@app.function(left)
def look(number: int, rows: sf.Lookup[str, int] = app.table(right)) -> None:
    return None
"""
    Path("wide.py").write_text(text)
    assert "--topic right" in shell("acls", "wide.py", "--principal", "User:x").stdout


# whose topic it is
@pytest.mark.parametrize(
    ("topic", "internal"),
    [
        ("orders-total-changelog", True),
        ("orders-by-repartition", True),
        ("orders-dead-letters", True),
        ("orders-tasks", True),
        ("orders-load-rows-position", True),
        ("orders", False),
        ("orders-shipped", False),
        ("orders-eu-tasks", False),
        ("orders-eu-total-changelog", False),
        ("orders-eu-dead-letters", False),
        ("my-orders-total-changelog", False),
    ],
)
def test_internal_topics_are_told_from_those_of_others(topic: str, internal: bool) -> None:
    """An application whose name begins with ours is known by its token topic."""
    names = {topic, "orders-tasks", "orders-eu-tasks", "orders-load-tasks"}
    assert is_internal("orders", topic, names) == internal
