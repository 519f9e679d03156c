"""``replay --diff`` where a topic's bytes can be read by the program's own serde only."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli_shell import Shell, open_shell

PROGRAM = """
from datetime import timedelta

import msgspec
import streamfn as sf


class Sale(msgspec.Struct, frozen=True):
    article: str
    amount: int


app = sf.App("sales")
sales = app.topic("sales", key=str, value=Sale)
stream = app.stream(sales)
stream.map_values(lambda sale: Sale(sale.article, sale.amount), value=Sale, name="same").to(
    app.topic("packed", key=str, value=sf.msgpack(Sale))
)
stream.map_values(lambda sale: sale.amount, value=int, name="number").to(
    app.topic("numbers", key=str, value=sf.INT64)
)
hours = app.topic("hours", key=sf.Windowed[str], value=int)
an_hour = sf.Tumbling(timedelta(hours=1))
stream.group_by_key().window(an_hour).count(name="count").to_stream().to(hours)
"""
SALES = '{"k": "a", "article": "tea", "amount": 2}\n{"k": "b", "article": "rye", "amount": 5}\n'


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in a folder where sales are recorded."""
    with open_shell(tmp_path, monkeypatch) as opened:
        Path("sales.py").write_text(PROGRAM)
        Path("sales.jsonl").write_text(SALES)
        opened("produce", "sales", "--from", "sales.jsonl", "--key", "k", "--app", "sales.py")
        opened("run", "sales.py", "--until-end")
        opened("record", "--app", "sales.py", "-o", "r.jsonl")
        yield opened


def test_the_run_itself(shell: Shell) -> None:
    """What the real run wrote is read as what the replay has made is: all equal."""
    said = shell("replay", "sales.py", "r.jsonl", "--diff", "--no-self-check")
    assert "6 records compared of 2 inputs, all equal" in said.stdout


def test_fields(shell: Shell) -> None:
    """A difference is one of a field, not of bytes, and shows the values of both sides."""
    other = PROGRAM.replace("sale.amount), value=Sale", "sale.amount + 1), value=Sale")
    Path("other.py").write_text(other)
    said = shell("replay", "other.py", "r.jsonl", "--diff", "--no-self-check", "--json", code=1)
    (group,) = json.loads(said.stdout)["differences"]
    assert (group["stage"], group["field"], group["count"]) == ("same", "amount", 2)
    assert [(each["expected"], each["actual"]) for each in group["examples"]] == [(2, 3), (5, 6)]


MODEL = """
import streamfn as sf
from pydantic import BaseModel


class Sale(BaseModel):
    article: str
    amount: int


app = sf.App("sales")
sales = app.topic("sales", key=str, value=Sale)


@app.function(sales, to=app.topic("dearer", key=str, value=Sale))
def dearer(sale: Sale) -> Sale:
    return Sale(article=sale.article, amount=sale.amount + 1)
"""


def test_fields_of_models(shell: Shell) -> None:
    """What a stage hands on has the fields that its topic has: one group, not two."""
    Path("before.py").write_text(MODEL)
    Path("after.py").write_text(MODEL.replace("+ 1", "+ 2"))
    words = ("after.py", "r.jsonl", "--against", "before.py", "--no-self-check", "--json")
    (group,) = json.loads(shell("replay", *words, code=1).stdout)["differences"]
    assert (group["field"], group["count"]) == ("amount", 2)
    assert group["places"] == {"dearer": 2, "stage:dearer": 2}
