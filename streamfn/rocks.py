"""The one place that touches rocksdict: ``Rocks``, a ``Database`` in a folder.

Task state and the embedded log live in it. It cures what RocksDB and its binding do badly: scans
that end early on damage, errors whose kind is only in their text, iterators that hold the LOCK.

Invariant: as for every ``Database``, **nothing is missing silently**, also after a crash: what is
found then is a prefix of what was written, batch by batch.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    ColumnFamily,
    DbClosedError,
    DBCompressionType,
    DBRecoveryMode,
    IngestExternalFileOptions,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    SstFileWriter,
    WriteBatch,
    WriteOptions,
)

from streamfn.database import (
    Changes,
    ClosedScan,
    Database,
    Entry,
    Memory,
    Range,
    Scan,
    close_scans,
    closed_error,
    no_space_error,
)
from streamfn.errors import StateCorruptedError, StateError, StateLockedError

__all__ = ["Changes", "Database", "Entry", "Memory", "Range", "Rocks", "Tuning", "shared_cache"]

log = logging.getLogger("streamfn")

SHARED_CACHE_BYTES = 64 << 20
LOAD_FILE_BYTES = 64 << 20


class Tuning(NamedTuple):
    """How a database spends memory and processor time; the default suits task state.

    Values of ``blob_bytes`` and more are kept apart from their keys and never rewritten by
    compaction (0: none are), which suits large values that are written once.
    """

    write_buffer_bytes: int = 16 << 20
    compression: str = "lz4"
    block_bytes: int = 16 << 10
    bloom_bits: int = 10
    blob_bytes: int = 0


STATE = Tuning()


@cache
def shared_cache() -> Cache:
    """Return the block cache that all databases of this process share."""
    return Cache(SHARED_CACHE_BYTES)


def database_error(error: Exception, path: str) -> Exception:
    """Name what a database's plain ``Exception`` means; RocksDB tells it only in its text."""
    if type(error) not in (Exception, DbClosedError) and not isinstance(error, OSError):
        return error
    text = " ".join(str(error).split())
    where = f"database {path!r}"
    if text.startswith("Corruption"):
        return StateCorruptedError(
            f"{where} is damaged; RocksDB says {text!r}; set the folder aside"
        )
    if "lock hold by" in text or "While lock file" in text:
        return StateLockedError(f"{where} is open elsewhere; RocksDB says {text!r}; close it there")
    if "No space left" in text or "quota exceeded" in text:
        return StateError(f"{where} cannot be written, disk full; got {text!r}; free some space")
    if "ermission denied" in text or "Read-only file system" in text:
        return StateError(f"{where} cannot be used, no permission; got {text!r}; mend its rights")
    return StateError(f"{where} cannot be used; got {text!r}; look at the disk and its mount")


class Rocks:
    """A ``Database`` in a folder: one RocksDB, a column family per space, write-ahead log on.

    What was written outlives the process at once, and the machine after ``sync``. Opening fails
    while another process or object has the folder open.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        spaces: Iterable[str] = (),
        *,
        create: bool = True,
        read_only: bool = False,
        sync: bool = False,
        block_cache: Cache | None = None,
        tuning: Tuning = STATE,
    ) -> None:
        self._path = os.fspath(path)
        self._sync = sync
        self._closed = False
        self._tuning = tuning
        self._cache = block_cache or shared_cache()
        self._scans: WeakSet[Scan] = WeakSet()
        self._families: dict[str, Rdict] = {}
        self._handles: dict[str, ColumnFamily] = {}
        self._write_options = {False: WriteOptions(), True: WriteOptions()}
        self._write_options[True].sync = True
        access = AccessType.read_only(False) if read_only else AccessType.read_write()
        try:
            self._root = self._open(set(spaces), create and not read_only, access)
        except Exception as error:
            raise database_error(error, self._path) from error

    def _open(self, spaces: set[str], create: bool, access: AccessType) -> Rdict:
        folder = Path(self._path)
        if create and not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o700)
        if (folder / "CURRENT").exists():
            found = set(Rdict.list_cf(self._path, self._options(False))) - {"default"}
            spaces = spaces | found if create else found
        families = {space: self._options(create) for space in sorted(spaces)}
        root = Rdict(self._path, self._options(create), families, access)
        for space in families:
            self._adopt(space, root)
        return root

    def _adopt(self, space: str, root: Rdict) -> None:
        self._families[space] = root.get_column_family(space)
        self._handles[space] = root.get_column_family_handle(space)

    def _options(self, create: bool) -> Options:
        tuning, options, blocks = self._tuning, Options(raw_mode=True), BlockBasedOptions()
        blocks.set_block_cache(self._cache)
        blocks.set_block_size(tuning.block_bytes)
        # Filters stay on the heap: a large one fits no shard of the cache; a get then takes 77 µs.
        blocks.set_cache_index_and_filter_blocks(False)
        if tuning.bloom_bits:
            blocks.set_bloom_filter(tuning.bloom_bits, False)
        options.set_block_based_table_factory(blocks)
        options.create_if_missing(create)
        options.create_missing_column_families(create)
        # A prefix of the write-ahead log is consistent; skipping its damaged records is not.
        options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
        compression = getattr(DBCompressionType, tuning.compression)()
        options.set_compression_type(compression)
        if tuning.blob_bytes:
            options.set_enable_blob_files(True)
            options.set_min_blob_size(tuning.blob_bytes)
            options.set_blob_compression_type(compression)
            options.set_enable_blob_gc(True)
        options.set_write_buffer_size(tuning.write_buffer_bytes)
        options.set_max_total_wal_size(4 * tuning.write_buffer_bytes)
        options.set_keep_log_file_num(2)
        options.set_max_log_file_size(1 << 20)
        options.set_stats_dump_period_sec(0)
        options.set_stats_persist_period_sec(0)
        return options

    def get(self, space: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        try:
            return self._families[space].get(key)
        except KeyError:
            raise self._missing(space) from None
        except Exception as error:
            raise database_error(error, self._path) from error

    def reader(self, space: str) -> Callable[[bytes], bytes | None]:
        """``get`` of one space; after ``close`` it fails and holds nothing open."""
        families, path = self._families, self._path

        def read(key: bytes) -> bytes | None:
            try:
                return families[space].get(key)
            except Exception as error:
                raise database_error(error, path) from error

        return read

    def scan(
        self, space: str, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[Entry]:
        """Yield entries with ``start <= key < end`` as they are now."""
        bounds = _bounds(start, end)
        cursor = self._cursor(space, bounds)
        if reverse:
            cursor.seek_to_last()
        else:
            cursor.seek(start)
        scan = self._walk(cursor, start if reverse else None, (bounds, start, end))
        next(scan)
        self._scans.add(scan)
        return scan

    def _walk(self, cursor: RdictIter | None, down_to: bytes | None, kept: object) -> Scan:
        """Step through a cursor; ``kept`` are its bounds, which it only points to."""
        assert cursor is not None
        valid, key, value = cursor.valid, cursor.key, cursor.value
        move = cursor.next if down_to is None else cursor.prev
        try:
            yield b"", b""  # to the maker, so that ``close`` finds a started scan
            while valid():
                found = key()
                if down_to is not None and found < down_to:
                    break  # RocksDB itself overlooks a lower bound at the empty key
                yield found, value()
                move()
            cursor.status()
            return
        except ClosedScan:
            # The caller's frame may live on: let go of the iterator, and tell on the next step.
            del valid, key, value, move
            cursor = None
        except Exception as error:
            raise database_error(error, self._path) from error
        yield b"", b""  # to ``close``
        raise closed_error(self._path)

    def last(self, space: str, start: bytes, at_most: bytes) -> Entry | None:
        """Return the entry with the greatest key in ``start <= key <= at_most``."""
        end = at_most + b"\0"
        bounds = _bounds(start, end)
        cursor = self._cursor(space, bounds)
        try:
            cursor.seek_to_last()
            found = (cursor.key(), cursor.value()) if cursor.valid() else None
            cursor.status()
        except Exception as error:
            raise database_error(error, self._path) from error
        return found if found and found[0] >= start else None

    def _cursor(self, space: str, bounds: ReadOptions) -> RdictIter:
        family = self._families.get(space)
        if family is None:
            raise self._missing(space)
        return family.iter(bounds)

    def _missing(self, space: str) -> Exception:
        return closed_error(self._path) if self._closed else no_space_error(space)

    def write(
        self, changes: Changes, delete_ranges: Iterable[Range] = (), *, sync: bool = False
    ) -> None:
        """Apply everything or nothing: first the deleted ranges, then the changes."""
        batch = WriteBatch(raw_mode=True)
        handles = self._handles
        try:
            for space, start, end in delete_ranges:
                batch.delete_range(start, end, handles[space])
            for space, entries in changes.items():
                _fill(batch, handles[space], entries)
            self._root.write(batch, self._write_options[sync or self._sync])
        except KeyError as error:
            raise self._missing(str(error.args[0])) from None
        except Exception as error:
            raise database_error(error, self._path) from error

    def load(self, space: str, entries: Iterable[Entry]) -> int:
        """Add many sorted entries as table files, past the write buffer; all or nothing."""
        if space not in self._families:
            raise self._missing(space)
        files: list[str] = []
        try:
            count = self._write_tables(entries, files)
            if files:
                move = IngestExternalFileOptions()
                move.set_move_files(True)
                self._families[space].ingest_external_file(files, move)
        except Exception as error:
            raise database_error(error, self._path) from error
        finally:
            for file in files:
                Path(file).unlink(missing_ok=True)
        return count

    def _write_tables(self, entries: Iterable[Entry], files: list[str]) -> int:
        count = size = 0
        table: SstFileWriter | None = None
        for key, value in entries:
            if table is None:
                files.append(os.path.join(self._path, f"load-{len(files)}.sst"))
                table, size = SstFileWriter(self._options(True)), 0
                table.open(files[-1])
            table[key] = value
            count += 1
            size += len(key) + len(value)
            if size >= LOAD_FILE_BYTES:
                table.finish()
                table = None
        if table is not None:
            table.finish()
        return count

    def spaces(self) -> list[str]:
        """Return the names of all spaces, sorted."""
        return sorted(self._families)

    def create_space(self, name: str) -> None:
        """Create an empty space; one that is there already stays as it is."""
        if self._closed:
            raise self._missing(name)
        if name in self._families:
            return
        try:
            self._root.create_column_family(name, self._options(True))
            self._adopt(name, self._root)
        except Exception as error:
            raise database_error(error, self._path) from error

    def drop_space(self, name: str) -> None:
        """Remove a space with all its entries."""
        if name not in self._families:
            raise self._missing(name)
        del self._families[name], self._handles[name]
        try:
            self._root.drop_column_family(name)
        except Exception as error:
            raise database_error(error, self._path) from error

    def size_bytes(self) -> int:
        """Return the size of all files in the folder."""
        total = 0
        for file in os.scandir(self._path):
            try:
                total += file.stat().st_size
            except FileNotFoundError:
                continue  # compaction may remove files at any time
        return total

    def close(self) -> None:
        """Free the files and the LOCK; live scans end with an error. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        close_scans(self._scans)
        self._families.clear()
        self._handles.clear()
        try:
            self._root.close()
        except Exception as error:
            # It is closed all the same. The write that failed has told; what was acknowledged
            # before it stands in the write-ahead log.
            log.info("database closed after an error", extra={"error": str(error)})


def _bounds(start: bytes, end: bytes | None) -> ReadOptions:
    """Keep RocksDB from walking through tombstones outside of ``start`` and ``end``.

    The caller keeps result and arguments alive as long as the iterator: rocksdict does not, and
    the iterator would stop at whatever lies in their memory then.
    """
    bounds = ReadOptions()
    if end is not None:
        # Never one without the other: a missing upper bound beside a lower one is the empty key.
        bounds.set_iterate_lower_bound(start)
        bounds.set_iterate_upper_bound(end)
    return bounds


def _fill(batch: WriteBatch, family: ColumnFamily, entries: Mapping[bytes, bytes | None]) -> None:
    put, delete = batch.put, batch.delete
    for key, value in entries.items():
        if value is None:
            delete(key, family)
        else:
            put(key, value, family)
