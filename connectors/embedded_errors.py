"""How errors of the database below the embedded log are told: as the log's own.

Invariant: nobody above the port hears of a store, of which the embedded log has none.
"""

from collections.abc import Generator
from contextlib import contextmanager

from streamfn.errors import LogError, LogLockedError, StateError, StateLockedError


@contextmanager
def log_errors() -> Generator[None]:
    """Tell the database's errors as the log's: below this port it is no store that failed."""
    try:
        yield
    except StateLockedError as error:
        message = f"embedded log cannot be opened; {error}"
        raise LogLockedError(message) from error
    except StateError as error:
        message = f"embedded log failed; {error}"
        raise LogError(message) from error
