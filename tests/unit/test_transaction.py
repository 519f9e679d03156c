"""How much a transaction may hold: all, less after each failure in a row, all again."""

import pytest

from streamfn.config import Config
from streamfn.engine.transaction import BACKOFF_MAX_S, Transaction
from streamfn.errors import FencedError, LogError


def test_it_gets_smaller_while_it_fails() -> None:
    """The first failure says nothing; each further one halves it, down to one record."""
    transaction = Transaction(Config(transaction_records_max=100))
    seen: list[int] = []
    for _ in range(10):
        transaction.failed(LogError("time-out"))
        transaction.rewound(patient=True)
        seen.append(transaction.allowance)
    assert seen == [100, 50, 25, 12, 6, 3, 1, 1, 1, 1]
    transaction.committed([])
    assert transaction.allowance == 100


def test_what_is_in_it_counts() -> None:
    """And is gone after a rewind."""
    transaction = Transaction(Config(transaction_records_max=10))
    transaction.records = 10
    assert transaction.full([])
    transaction.rewound(patient=True)
    assert not transaction.full([])


def test_the_wait_grows_and_is_bounded() -> None:
    """None before the first try again, nor while a record is sought."""
    transaction = Transaction(Config())
    waits = [transaction.rewound(patient=True) for _ in range(12)]
    assert waits[:3] == [0.0, 0.1, 0.2]
    assert waits[-1] == BACKOFF_MAX_S
    assert transaction.rewound(patient=False) == 0.0


def test_fenced_twice_in_a_row_is_somebody_else() -> None:
    """Once may be a long outage."""
    transaction = Transaction(Config())
    transaction.failed(FencedError("outage"))
    transaction.failed(LogError("time-out"))
    transaction.failed(FencedError("outage"))
    with pytest.raises(FencedError):
        transaction.failed(FencedError("again"))
