"""Which records of a batch fail before they are run: a text key that is no text, an absurd time.

Batches come from the task's inputs as they are read, and the records named here get their policy
when their turn comes. Invariant: a batch without such records is looked at as a whole, in one call
each, as nearly all are.
"""

from collections.abc import Iterator
from typing import cast

from streamfn.errors import SerdeError
from streamfn.record import TIME_END_MS, Batch


def condemned_rows(batch: Batch, *, text_keys: bool) -> Iterator[tuple[int, Exception]]:
    """Yield offset and error of each; ``text_keys``: keys go into stores as the text they are."""
    if text_keys and not _all_text(batch):
        for key, offset in zip(batch.keys, batch.offsets, strict=True):
            try:
                str(key or b"", "utf-8")
            except UnicodeDecodeError as error:
                yield offset, SerdeError(f"key {key!r}: {error}")
    if max(batch.timestamps, default=0) >= TIME_END_MS:
        for time_ms, offset in zip(batch.timestamps, batch.offsets, strict=True):
            if time_ms >= TIME_END_MS:
                message = (
                    f"the record has a time after the year 9999; got {time_ms} ms since the epoch; "
                    "write milliseconds, or read its time from the value: app.topic(timestamp=...)"
                )
                yield offset, SerdeError(message)


def _all_text(batch: Batch) -> bool:
    try:
        b"\n".join(cast("list[bytes]", batch.keys)).decode()
    except (UnicodeDecodeError, TypeError):  # a TypeError: there are null keys among them
        return False
    return True
