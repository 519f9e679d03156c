"""``streamfn run -o help``: every setting with its default and what it means.

Meanings are read from the texts below the fields of ``Config``, so that they are written down once.
Invariant: every field is listed, in the order in which it stands there.
"""

import ast
import inspect
from dataclasses import fields
from typing import Final

from rich.table import Table

from streamfn.config import Config

CLIENT_SETTINGS: Final = (
    ("kafka.NAME", "a setting of all Kafka clients, as librdkafka names it"),
    ("consumer.NAME", "of the consumers only; likewise producer.NAME and admin.NAME"),
)
SECRETS: Final = "a password stands better in a file: --kafka-config FILE"


def meanings() -> dict[str, str]:
    """What each field means: the text right below it."""
    tree = ast.parse(inspect.getsource(Config))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    texts: dict[str, str] = {}
    for node, below in zip(found.body, found.body[1:], strict=False):
        if not isinstance(node, ast.AnnAssign) or not isinstance(below, ast.Expr):
            continue
        if isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            texts[ast.unparse(node.target)] = " ".join(below.value.value.split())
    return texts


def settings_table() -> Table:
    """A row for each setting."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("-o KEY=VALUE", no_wrap=True, style="bold")
    table.add_column("default", no_wrap=True)
    table.add_column("meaning")
    texts = meanings()
    for field in fields(Config):
        if field.name != "client_settings":
            table.add_row(field.name, _shown(field.default), texts.get(field.name, ""))
    for name, text in CLIENT_SETTINGS:
        table.add_row(name, "", text)
    table.add_row("", "", SECRETS, style="dim")
    return table


def _shown(default: object) -> str:
    """A default as it would be written."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:_}" if isinstance(default, int) else str(default)
