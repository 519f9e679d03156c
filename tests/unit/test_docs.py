"""Every code block of the README and the docs runs: commands print what the page shows."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"# ([\w./]+)\n")


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """Read the fenced blocks of a page."""
    text = (ROOT / page).read_text()
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in BLOCK.finditer(text)]


def write(block: Block, folder: Path) -> bool:
    """Write a block that begins with a file's name; JSON has no comments, so that line goes."""
    name = NAME.match(block.text)
    if name is None:
        return False
    text = block.text[name.end() :] if block.language == "json" else block.text
    (folder / name[1]).write_text(text)
    return True


def run(command: str, folder: Path) -> str:
    """Run a command as a reader would, ``streamfn`` being this tree's."""
    words = command.split("#")[0].strip()
    words = re.sub(r"^streamfn\b", f"{sys.executable} -m streamfn", words)
    words = re.sub(r"^(pytest|python)\b", f"{sys.executable} -m pytest", words)
    done = subprocess.run(
        words,
        shell=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout


def check_session(block: Block, folder: Path, page: str) -> int:
    """Run a console block; each line below a command must appear in what it prints."""
    printed, shown = "", 0
    for line in block.text.splitlines():
        if line.startswith("$ make "):
            printed = ""
        elif line.startswith("$ "):
            printed = run(line[2:], folder)
        elif line.strip() and line.strip() != "…":
            shown += 1
            words = " ".join(line.split())
            assert words in " ".join(printed.split()), f"{page}:{block.line}: {line!r}\n{printed}"
    return shown


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, tmp_path: Path) -> None:
    """The page's files can be written, its commands print what it says, its tests pass."""
    for block in blocks(page):
        if block.language == "console":
            check_session(block, tmp_path, page)
        elif block.language in ("python", "json"):
            assert write(block, tmp_path), f"{page}:{block.line}: begin with '# file name'"
    for test in sorted(tmp_path.glob("test_*.py")):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_readme_tour_is_checked() -> None:
    """The README has a tour: a file, commands with output, a test."""
    languages = [block.language for block in blocks("README.md")]
    assert languages.count("python") == 2
    assert languages.count("console") >= 3


def test_a_wrong_output_is_found(tmp_path: Path) -> None:
    """The check can fail."""
    with pytest.raises(AssertionError, match="hello"):
        check_session(Block("console", "$ echo bye\nhello\n", 1), tmp_path, "page")
