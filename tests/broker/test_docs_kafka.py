"""The pages' sessions on a Kafka: commands print there what the page shows.

The broker is shared, so the application and the topics of the pages get names that only this test
has; all else is as the reader sees it.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kafka_settings import Address
from tests.pages import BROKER, PAGES, Block, blocks, play

OWN_NAMES = ("shop", "orders", "totals")
QUOTED = re.compile(rf'"({"|".join(OWN_NAMES)})"')
WORD = re.compile(rf"(?<![\w./])({'|'.join(OWN_NAMES)})(?![\w./])")
"""Not within ``shop.py`` or ``orders.jsonl``."""


def named(name: str, address: str) -> Callable[[Block], Block]:
    """Have the pages' application called ``name``, its topics likewise, on another broker."""

    def new(found: re.Match[str]) -> str:
        return found[0].replace(found[1], name if found[1] == "shop" else f"{name}.{found[1]}")

    def change(block: Block) -> Block:
        if block.language == "console":
            return block._replace(text=WORD.sub(new, block.text).replace(BROKER, address))
        return block._replace(text=QUOTED.sub(new, block.text))

    return change


@pytest.mark.parametrize(
    "pages", [("README.md",), ("docs/kafka.md", "docs/operations.md")], ids=["readme", "docs"]
)
def test_sessions(pages: tuple[str, ...], broker: Address, name: str, tmp_path: Path) -> None:
    """What one page has begun the next one goes on with."""
    for page in pages:
        change = named(name, broker.bootstrap)
        assert play(page, tmp_path, lambda block: block.needs_broker, change) > 0


def test_no_session_is_left_out() -> None:
    """Each page with a session on a Kafka is run above."""
    found = {page for page in PAGES if any(block.needs_broker for block in blocks(page))}
    assert found == {"README.md", "docs/kafka.md", "docs/operations.md"}


def test_names_are_changed_where_they_are_names() -> None:
    """A topic and an application, and no file."""
    change = named("x", "a:1")
    session = f"$ streamfn consume totals --app shop.py --broker {BROKER}\nshop-tasks\n"
    changed = "$ streamfn consume x.totals --app shop.py --broker a:1\nx-tasks\n"
    assert change(Block("", "console", session, 1)).text == changed
    program = 'app = sf.App("shop")\norders = app.topic("orders")\n'
    changed = 'app = sf.App("x")\norders = app.topic("x.orders")\n'
    assert change(Block("", "python", program, 1)).text == changed
