"""Every code block of the README and the docs runs: commands print what the page shows.

Those that need a Kafka are run by ``tests/broker/test_docs_kafka.py``.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest

from streamfn.cli.errors import EXIT_CODES
from streamfn.metrics import Metrics
from tests.pages import PAGES, PLUGIN, ROOT, Block, blocks, check_session, play

LOG_CALLS: Final = ("info", "warning", "error", "exception", "critical")
LOGGERS: Final = ("log", "log_", "LOGGER")


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, tmp_path: Path) -> None:
    """The page's files can be written, its commands print what it says, its tests pass."""
    play(page, tmp_path, lambda block: not block.needs_broker)
    for test in sorted(tmp_path.glob("test_*.py")):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name],
            cwd=tmp_path,
            env={**os.environ, **PLUGIN, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_readme_tour_is_checked() -> None:
    """The README has a tour: a file, commands with output, a test."""
    languages = [block.language for block in blocks("README.md")]
    assert languages.count("python") == 5
    assert languages.count("console") >= 3


def test_a_wrong_output_is_found(tmp_path: Path) -> None:
    """The check can fail."""
    with pytest.raises(AssertionError, match="hello"):
        check_session(Block("page", "console", "$ echo bye\nhello\n", 1), tmp_path)


def operations() -> str:
    """The page for operators, in one line."""
    return " ".join((ROOT / "docs/operations.md").read_text().split())


def log_texts() -> Iterator[tuple[str, str]]:
    """Each fixed text of a log call of the library, with its place."""
    for folder in ("streamfn", "connectors", "state"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in LOG_CALLS
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id in LOGGERS
                    and isinstance(node.args[0], ast.Constant)
                ):
                    for text in re.split(r"%[.\d]*[a-z]", str(node.args[0].value)):
                        yield f"{path.name}:{node.lineno}", text.strip(" :,")


def test_each_log_line_is_explained() -> None:
    """What the engine and the connectors can write stands in the page for operators."""
    page, texts = operations(), list(log_texts())
    assert len(texts) > 20
    assert [(at, text) for at, text in texts if len(text) > 3 and text not in page] == []


def test_each_metric_and_exit_code_is_explained() -> None:
    """None is added without a word on what it means."""
    page = operations()
    assert [each.name for each in fields(Metrics) if f"`{each.name}`" not in page] == []
    assert [code for code in EXIT_CODES if not re.search(rf"\| {code}[ ,]", page)] == []
