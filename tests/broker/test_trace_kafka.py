"""From an output back to its input on a real Kafka, where transactions have offsets too."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.test_cli_kafka import Words
from tests.kafka_settings import Address
from tests.unit.cli_shell import Shell, open_shell

ON = ("-o", "provenance=true")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in an empty folder."""
    with open_shell(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture
def words(shell: Shell, name: str, broker: Address) -> Words:
    """The program, with its topics."""
    made = Words(shell, name, broker)
    made("topics", "create")
    return made


def steps(words: Words, topic: str, offset: int) -> list[str]:
    """Where a record comes from, from topic to topic."""
    told = json.loads(words("trace", topic, "0", str(offset), "--json"))
    return [step["topic"].removeprefix(f"{words.name}-") for step in told["path"]]


def test_a_path_on_kafka(words: Words) -> None:
    """Through the repartition topic to the input, and on by the root once it is trimmed."""
    name, again = words.name, f"{words.name}.lines-by-value-repartition"
    words.load(["a b a", "bad", "c"])
    words.run(*ON)
    said = words("trace", f"{name}.counts", "0", "0")
    (version,) = {line.split("version ")[1] for line in said.splitlines() if "version " in line}
    assert f"code version {version}" in words.shell("describe", "words.py").stdout
    assert steps(words, f"{name}.counts", 0) == [f"{name}.counts", again, f"{name}.lines"]
    assert steps(words, f"{name}-dead-letters", 0) == ["dead-letters", again, f"{name}.lines"]
    client, topic = words.client, f"{name}-{again}"
    for partition, end in client.ends(topic).items():
        client.delete_records(topic, partition, end)
    said = words("trace", f"{name}.counts", "0", "0")
    assert "gone: " in said
    assert f"its root says {name}.lines[" in said
    assert steps(words, f"{name}.counts", 0) == [f"{name}.counts", again, f"{name}.lines"]


def test_offsets_without_a_record_on_kafka(words: Words) -> None:
    """The end of a transaction has an offset too; behind the end there is nothing."""
    name = words.name
    words.load(["a"])
    words.run(*ON)
    words.client.wait_settled([f"{name}.counts"])
    marker = words.client.ends(f"{name}.counts")[0] - 1
    asked = ("trace", f"{name}.counts", "0", str(marker), "--application", name)
    assert "a transaction's marker" in words.fails(*asked, code=4)
    asked = ("trace", f"{name}.counts", "0", str(marker + 1), "--application", name)
    assert f"ends before offset {marker + 1}" in words.fails(*asked, code=4)
