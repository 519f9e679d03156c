"""The pytest plugin: installing streamfn gives every test the fixtures ``driver`` and ``replay``.

It is loaded in every run of pytest where streamfn is installed, so it imports what it needs when a
test asks for it. Invariant: what a test opened is closed when it ends, whether it passed or not.
PYTEST_DONT_REWRITE: no assertion of ours is for a user's eyes.
"""

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import pytest

if TYPE_CHECKING:
    from streamfn.app import App
    from streamfn.testing.driver import TestDriver
    from streamfn.testing.replaying import Replay
    from streamfn.testing.snapshot_files import Tests

MakeDriver: TypeAlias = "Callable[..., TestDriver]"


class _Session:
    """What this process has seen of the session; the paths are of snapshots."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.written: set[str] = set()
        self.unused: list[str] = []
        self.passed: set[str] = set()
        """Node ids of tests."""
        self.deselected: list[pytest.Item] = []
        self.files: dict[str, Tests] = {}
        """The test files that may have snapshots."""


SESSION: Final = pytest.StashKey[_Session]()


# fixtures
@pytest.fixture
def driver() -> "Iterator[MakeDriver]":
    """Make drivers: ``driver(app)`` runs an app in memory on virtual time for this test.

    It takes what ``TestDriver`` takes::

        def test_counts(driver):
            run = driver(app)
            run.send(words, "hello", key="a", timestamp_ms=0)
            assert [record.value for record in run.read(counts)] == [1]
    """
    from streamfn.testing.driver import TestDriver

    with ExitStack() as stack:

        def make(app: "App", **options: Any) -> TestDriver:
            made = TestDriver(app, **options)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> "Iterator[Replay]":
    """Run recordings: ``replay("recordings/week.jsonl.zst", app)`` gives what they leave.

    It takes what ``streamfn.testing.Replay`` takes::

        def test_last_week(replay):
            result = replay("recordings/week.jsonl.zst", app)
            assert result.state(spent, "total")["ann"] == 22.5
            result.check()
    """
    from streamfn.testing.replaying import Replay
    from streamfn.testing.snapshots import Snapshots

    session = request.config.stash[SESSION]
    update = bool(request.config.getoption("--streamfn-update"))
    item = cast(pytest.Item, request.node)
    made = Replay(request, Snapshots(item, session.used, session.written, update=update))
    yield made
    made.close()


# hooks
def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--streamfn-update``."""
    parser.getgroup("streamfn").addoption(
        "--streamfn-update",
        action="store_true",
        help="write the snapshots of replays anew: what is now is right",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin to note what tests do with snapshots."""
    config.stash[SESSION] = _Session()


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say in which fields two lists of records differ."""
    if op != "==" or not isinstance(left, list) or not isinstance(right, list):
        return None
    both = [*cast("list[object]", left), *cast("list[object]", right)]
    if "streamfn.record" not in sys.modules or not both:
        return None
    from streamfn.record import Record

    if not all(isinstance(each, Record) for each in both):
        return None
    from streamfn.testing.explain import explain_records

    return explain_records(
        cast("list[Record[Any, Any]]", left), cast("list[Record[Any, Any]]", right)
    )


# what becomes of snapshots
def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Note tests that exist and are not run."""
    if items:
        items[0].config.stash[SESSION].deselected += items


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note tests that passed."""
    report = yield
    if report.when == "call" and report.passed:
        item.config.stash[SESSION].passed.add(item.nodeid)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look for snapshots that no test uses; a worker of xdist tells only what it knows."""
    config, seen = session.config, session.config.stash[SESSION]
    items = [*getattr(session, "items", ()), *seen.deselected]
    if any((folder / "snapshots").is_dir() for folder in {item.path.parent for item in items}):
        from streamfn.testing.snapshot_files import tests_of

        _merge(seen.files, tests_of(items, seen.passed))
    told: dict[str, object] | None = getattr(config, "workeroutput", None)
    if told is not None:
        files = {path: (sorted(of.known), sorted(of.passed)) for path, of in seen.files.items()}
        told["streamfn"] = {
            "used": sorted(seen.used), "written": sorted(seen.written), "files": files,
        }  # fmt: skip
    elif seen.files and not config.option.collectonly:
        from streamfn.testing.snapshot_files import unused

        partial = config.getoption("lf", False) or any("::" in each for each in config.args)
        seen.unused = unused(seen.files, seen.used, partial=bool(partial))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker of xdist knows; one that crashed has said nothing."""
    told = getattr(node, "workeroutput", {}).get("streamfn")
    if told is None:
        return
    from streamfn.testing.snapshot_files import Tests

    seen = node.config.stash[SESSION]
    seen.used.update(told["used"])
    seen.written.update(told["written"])
    told_files = told["files"].items()
    _merge(
        seen.files, {path: Tests(set(known), set(passed)) for path, (known, passed) in told_files}
    )


def _merge(files: "dict[str, Tests]", more: "dict[str, Tests]") -> None:
    """Add what another process knows."""
    for path, tests in more.items():
        mine = files.setdefault(path, tests)
        mine.known |= tests.known
        mine.passed |= tests.passed


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which snapshots were written, and which nobody uses."""
    seen = config.stash[SESSION]
    if seen.written or seen.unused:
        terminalreporter.section("streamfn snapshots")
    for what, paths in (
        ("written", sorted(seen.written)),
        ("used by no test, delete", seen.unused),
    ):
        for path in paths:
            place = Path(path)
            near = place.is_relative_to(config.rootpath)
            shown = place.relative_to(config.rootpath) if near else place
            terminalreporter.line(f"{what}: {shown}")
