"""Recording files as inputs of a replay, whatever their format.

Parts come from a format (``jsonl_read``, ``avro_file``) and go on as entries and chunks. Invariant:
a pass that ends without an error has given every record of the file unchanged, and in replay order.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from streamfn.replay.recording import Chunk, Entry, Header
from streamfn.replay.recordings.file_header import (
    AGAIN,
    End,
    FileHeader,
    as_header,
    end_of,
    failing,
    known_ranges,
)
from streamfn.replay.recordings.order import Fail, ReplayOrder, Rows

FEW: Final = 4000
"""How many records make a chunk."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries of stores, decoded when they are wanted."""

    count: int
    decode: Callable[[], list[Entry]]
    where: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of a sealed file."""

    end: End
    where: str


Part: TypeAlias = Entries | Rows | Closing


class Format(Protocol):
    """A file of one format."""

    path: Path
    header: FileHeader
    bytes_done: int
    """How far the present pass has come."""

    def parts(self, topics: Container[str] | None = None) -> Generator[Part]:
        """Read what stands behind the header: a pass of its own.

        Rows of other topics than these may be left out, and are counted then.
        """
        ...

    def total(self) -> int | None:
        """How many records there are, if a look at the end tells."""
        ...


class FileInputs:
    """What a recording file holds."""

    def __init__(self, file: Format) -> None:
        self.place = str(file.path)
        self.bytes_total = file.path.stat().st_size
        self._file = file
        self._fail: Fail = failing(self.place)
        self._ranges = known_ranges(file.header)
        self._passes: list[Generator[Part]] = []
        self._total: int | None = None
        if file.header.complete or file.header.sealed:
            self._header = as_header(file.header)
            self._total = file.total()
        else:
            self._header = self._look()
        self._stores = {store.name: store.partitions for store in self._header.stores}

    @property
    def header(self) -> Header:
        """What is in it."""
        return self._header

    @property
    def total(self) -> int | None:
        """How many records there are, if that is known."""
        return self._total

    @property
    def bytes_done(self) -> int:
        """How many of ``bytes_total`` the latest pass has read."""
        return self._file.bytes_done

    def _look(self) -> Header:
        """Read a file whose header is silent, to learn which topics it has."""
        order = self._order()
        stores: defaultdict[str, int] = defaultdict(int)
        for part in self._parts(order):
            if isinstance(part, Rows):
                order.check(part)
            elif isinstance(part, Entries):
                for entry in part.decode():
                    stores[entry.store] = max(stores[entry.store], entry.partition + 1)
        self._total = order.records
        return as_header(self._file.header, order, stores)

    def _order(self) -> ReplayOrder:
        return ReplayOrder(self._fail, self._ranges)

    def _parts(self, order: ReplayOrder, topics: Container[str] | None = None) -> Generator[Part]:
        """Read the parts in their places; at the end compare how many there were."""
        entries = 0
        parts = self._file.parts(topics)
        self._passes.append(parts)
        with closing(parts):
            for part in parts:
                if isinstance(part, Closing):
                    self._check_end(part, end_of(order, entries), topics)
                elif isinstance(part, Entries):
                    if order.records:
                        wrong = "has an entry of a store behind records"
                        raise self._fail(
                            where=part.where(0), wrong=wrong, cure="put it before all records"
                        )
                    entries += part.count
                yield part
        if parts not in self._passes:
            raise self._fail(
                wrong="was closed while it was read", cure="close it after the last pass"
            )
        self._passes.remove(parts)

    def _check_end(self, part: Closing, found: End, topics: Container[str] | None) -> None:
        """Compare how many records there are, and of each partition that was looked at."""
        if part.end.of(topics) != found.of(topics):
            wrong = "does not say what the file holds"
            got = f"{part.end.records} records and {part.end.entries} entries there, "
            got += f"{found.records} and {found.entries} in the file"
            raise self._fail(where=part.where, wrong=wrong, got=got, cure=AGAIN)

    def state(self) -> Iterator[Entry]:
        """Yield the entries of the recorded stores."""
        with closing(self._parts(self._order())) as parts:
            for part in parts:
                if not isinstance(part, Entries):
                    return
                for index, entry in enumerate(part.decode()):
                    if entry.partition >= self._stores.get(entry.store, 0):
                        wrong = f"is of store {entry.store!r}, partition {entry.partition}"
                        raise self._fail(
                            where=part.where(index),
                            wrong=wrong,
                            got="a header without it",
                            cure="name it there",
                        )
                    yield entry

    def chunks(self, topics: Container[str] | None = None) -> Iterator[Chunk]:
        """Yield the records, or those of some topics, in order; each call is a pass of its own."""
        order = self._order()
        with closing(self._parts(order, topics)) as parts:
            for part in parts:
                if isinstance(part, Rows):
                    chunk = order.chunk(part, topics)
                    if chunk:
                        yield chunk

    def close(self) -> None:
        """Close what passes have open."""
        for parts in list(self._passes):
            parts.close()
        self._passes.clear()
