"""The pytest plugin: installing streamfn gives every test the ``driver`` fixture.

Invariant: what a test opened is closed when it ends, whether it passed or not.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest

from streamfn.app import App
from streamfn.testing.driver import TestDriver

MakeDriver: TypeAlias = Callable[..., TestDriver]


@pytest.fixture
def driver() -> Iterator[MakeDriver]:
    """Make drivers: ``driver(app)`` runs an app in memory on virtual time for this test.

    It takes what ``TestDriver`` takes::

        def test_counts(driver):
            run = driver(app)
            run.send(words, "hello", key="a", timestamp_ms=0)
            assert [record.value for record in run.read(counts)] == [1]
    """
    with ExitStack() as stack:

        def make(app: App, **options: Any) -> TestDriver:
            made = TestDriver(app, **options)
            stack.callback(made.close)
            return made

        yield make
