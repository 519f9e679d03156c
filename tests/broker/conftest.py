"""The real Kafka of the tests: one for all of them, private ones for those that break it.

``broker`` is STREAMFN_TEST_BROKER if that is set, else started from its jars (Java and Maven), else
in Docker; if nothing of this is there, its tests are skipped with one line that says what is
missing. With STREAMFN_REQUIRE_BROKER=1 a test here that is skipped, for whatever reason, fails.

Under pytest-xdist no process is special: the first worker that needs the broker starts it under a
file lock in the run's folder and records it there, the others join it, and it ends with the last
of them, killed ones included (``tests.kafka_broker.shared``).
"""

import os
import re
import uuid
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Unpack, cast

import pytest

from tests.kafka_admin import check_answers, delete_topics
from tests.kafka_broker import (
    QUICK_START,
    Broker,
    Options,
    OwnBroker,
    shared,
)
from tests.kafka_jars import NoBrokerError, launcher
from tests.kafka_settings import Address

HERE = Path(__file__).parent
EXTERNAL = os.environ.get("STREAMFN_TEST_BROKER", "")
REQUIRED = os.environ.get("STREAMFN_REQUIRE_BROKER", "") not in {"", "0"}


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.broker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped where a broker is required."""
    report = yield
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but STREAMFN_REQUIRE_BROKER is set: {why(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that was skipped where a broker is required."""
    report = yield
    if REQUIRED and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, but STREAMFN_REQUIRE_BROKER is set: {why(report.longrepr)}"
    return report


def why(longrepr: object) -> str:
    """Take the reason from what pytest keeps of a skip: file, line, reason."""
    return str(cast("tuple[object, ...]", longrepr)[2] if isinstance(longrepr, tuple) else longrepr)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one folder that all workers of this test run have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def startable() -> None:
    """Skip the test if no Kafka can be started on this machine."""
    try:
        launcher()
    except NoBrokerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, run_folder: Path) -> Iterator[Address]:
    """The address of the broker that all tests share: do not stop it, and use ``name``."""
    if EXTERNAL:
        check_answers(Address(EXTERNAL))
        yield Address(EXTERNAL)
        return
    request.getfixturevalue("startable")
    with shared(run_folder / "broker", java_options=QUICK_START) as address:
        yield address


@pytest.fixture(scope="session")
def authorized_broker(startable: None, run_folder: Path) -> Iterator[Address]:
    """The address of a shared broker with passwords and an authorizer.

    ``settings()`` are those of the admin; ``guest`` has no rights and is never given any; to
    ``worker`` a test may give rights on topics and groups whose names begin with its ``name``.
    """
    place = run_folder / "authorized-broker"
    with shared(place, java_options=QUICK_START, users=("guest", "worker")) as address:
        yield address


@pytest.fixture
def own_broker(startable: None) -> Iterator[OwnBroker]:
    """Start brokers that a test may kill, suspend and configure; they end with the test."""
    with ExitStack() as stack:

        def start(**options: Unpack[Options]) -> Broker:
            options.setdefault("java_options", QUICK_START)
            return stack.enter_context(Broker(**options))

        yield start


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name that only this test has, for an app or topics that begin with it.

    Its topics on a shared broker are deleted when the test ends.
    """
    said = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))
    unique = f"{said[:40].strip('-')}-{uuid.uuid4().hex[:8]}"
    used = [at for at in ("broker", "authorized_broker") if at in request.fixturenames]
    addresses: list[Address] = [request.getfixturevalue(at) for at in used]
    yield unique
    for address in addresses:
        delete_topics(address, unique)
