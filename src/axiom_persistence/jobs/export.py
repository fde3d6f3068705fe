"""Write the records of a store into an archive: JSON Lines, which any editor and ``jq`` can open."""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Literal

from xxhash import xxh3_64_hexdigest

from ..errors import SchemaTooNewError, StorageLockedError, from_os_error
from ..platform.local import local_filesystem
from ..runtime.threads import in_thread
from ..store._header import HEADER
from ._lines import ArchiveFault, Reader, Sums, Whole, header_line, record_line
from ._packing import BLOCK_BYTES, Packing, packing_for
from ._selection import Selection, selected
from .walk import OnProgress, Progress

__all__ = ["Compression", "ExportReport", "Target", "export_to"]

Target = str | os.PathLike[str] | BinaryIO
"""The path of an archive, or a binary file that is open for writing, such as ``sys.stdout.buffer``."""

Compression = Literal["deflate", "zstd"]

RESUMED_WITHIN_SECONDS: Final = 3600
"""An interrupted export that is older is begun anew: what it took along is of another time."""


@dataclass(slots=True)
class ExportReport:
    """What an export did. True when nothing had to be left out."""

    records: int = 0
    """How many records are in the archive."""
    resumed: int = 0
    """How many of them an interrupted export had written already."""
    faults: list[ArchiveFault] = field(default_factory=list)
    """Damaged records, which are not in the archive."""

    def __bool__(self) -> bool:
        return not self.faults


async def export_to(
    target: Target,
    selections: Sequence[Selection],
    *,
    compression: Compression | None = None,
    times: bool = False,
    progress: OnProgress | None = None,
) -> ExportReport:
    """Write what ``selections`` select, in this order, to ``target``, in bounded memory.

    A path is written beside it, as ``….part``, and renamed once it is whole and on the disk. If the same
    export was interrupted within the last hour, it goes on behind the last whole line of that file. Each
    record is as it was at some moment while the export ran.
    Raises ``StorageLockedError`` while another process writes the same archive.
    """
    report = ExportReport()
    first = selections[0]
    header = header_line(first.prefix, first.pattern)
    output = await _output(target, packing_for(compression), header, selections, times)
    try:
        whole = await in_thread(output.open)
        sums, last = whole.sums, whole.last
        report.resumed = sums.records
        if whole.offset == 0:
            sums.add(header, records=0)
            output.add([header])
        for selection in selections:
            after = None
            if last is not None and last.secure == selection.secure:
                after, last = last.key, None
            if last is not None:
                continue  # an interrupted export was through with this one
            async for page in selected(selection, report.faults, after=after, times=times):
                secure = selection.secure
                lines = [record_line(name, body, secure=secure, saved=saved) for name, body, saved in page]
                for line in lines:
                    sums.add(line, records=1)
                if output.add(lines):
                    await in_thread(output.write)
                if progress is not None:
                    progress(Progress(sums.records, None, page[-1].name if page else after))
        await in_thread(lambda: output.finish(sums))
    finally:
        output.close()
    report.records = sums.records
    if progress is not None:
        progress(Progress(report.records, report.records))
    return report


async def _output(
    target: Target, packing: Packing, header: bytes, selections: Sequence[Selection], times: bool
) -> _Output:
    if not isinstance(target, (str, os.PathLike)):
        return _Stream(packing, target)
    stores = [(await one.store.adapter.fetch((HEADER,))).get(HEADER) for one in selections]
    told = [header, type(packing).__name__.encode(), b"times" if times else b""]
    told += [b"" if stored is None else stored.data for stored in stores]
    told += [f"{one.view} {one.tag} {one.sealed}".encode() for one in selections]
    return _Part(packing, Path(target), xxh3_64_hexdigest(b"\n".join(told))[:8])


class _Output(ABC):
    """An archive on its way out. Its methods take time; they are called one after the other, in threads."""

    def __init__(self, packing: Packing) -> None:
        self._packing = packing
        self._lines: list[bytes] = []
        self._size = 0
        self._using = threading.Lock()
        self._closed = False

    def open(self) -> Whole:
        """Make ready; how far an earlier attempt came."""
        return Whole(0, Sums(), None)

    def add(self, lines: Sequence[bytes]) -> bool:
        """Have ``lines`` wait for ``write``; whether that is worth a call now. Takes no time."""
        self._lines += lines
        self._size += sum(map(len, lines))
        return self._size >= 2 * BLOCK_BYTES

    def write(self) -> None:
        """Write the whole blocks among what waits."""
        with self._using:
            if self._closed:
                return  # whoever asked for it was cancelled meanwhile
            begin, size = 0, 0
            for end, line in enumerate(self._lines, 1):
                size += len(line)
                if size >= BLOCK_BYTES:
                    self._write(self._packing.pack(b"".join(self._lines[begin:end])))
                    begin, size = end, 0
            del self._lines[:begin]
            self._size = size

    def finish(self, sums: Sums) -> None:
        """Write the last line, a block of its own, and have it all where it belongs."""
        self.write()
        with self._using:
            if not self._closed:
                for lines in (self._lines, [sums.line()]):
                    if lines:
                        self._write(self._packing.pack(b"".join(lines)))
                self._settle()

    @abstractmethod
    def _write(self, data: bytes) -> None: ...

    @abstractmethod
    def _settle(self) -> None: ...

    def close(self) -> None:
        with self._using:
            self._closed = True


class _Stream(_Output):
    """Into a file that somebody else opened."""

    def __init__(self, packing: Packing, file: BinaryIO) -> None:
        super().__init__(packing)
        self._file = file

    def _write(self, data: bytes) -> None:
        with self._failing():
            self._file.write(data)

    def _settle(self) -> None:
        with self._failing():
            self._file.flush()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            name = getattr(self._file, "name", type(self._file).__name__)
            raise from_os_error(error, "cannot write the archive", adapter=name) from error


class _Part(_Output):
    """An archive that is written beside its place. Its name tells of which store and which export it is."""

    def __init__(self, packing: Packing, target: Path, identity: str) -> None:
        super().__init__(packing)
        self._target = target.absolute()
        self._name = f"{target.name}.{identity}.part"
        self._files = local_filesystem(self._target.parent)
        self._handle = -1

    def open(self) -> Whole:
        with self._using:
            if self._closed:
                return Whole(0, Sums(), None)
            try:
                return self._open()
            except OSError as error:
                raise from_os_error(error, "cannot write the archive", adapter=self._target) from error

    def _open(self) -> Whole:
        self._files.attach(create=False)
        self._handle = self._files.open(self._name, write=True, create=True)
        if not self._files.try_lock(self._handle, exclusive=True):
            raise StorageLockedError(
                "another process writes this archive now", adapter=self._target, hint="wait until it is done"
            )
        whole = self._look()
        os.ftruncate(self._handle, whole.offset)
        os.lseek(self._handle, whole.offset, os.SEEK_SET)
        return whole

    def _look(self) -> Whole:
        nothing = Whole(0, Sums(), None)
        if time.time() - self._files.status(self._name).modified > RESUMED_WITHIN_SECONDS:
            return nothing
        with os.fdopen(os.dup(self._handle), "rb") as file:
            reader = Reader(file, str(self._target))
            try:
                for _ in reader.entries():
                    if reader.faults:
                        break
            except SchemaTooNewError:
                return nothing  # a newer program's attempt; it will make its own again
            return reader.whole

    def _write(self, data: bytes) -> None:
        try:
            self._files.write(self._handle, data)
        except OSError as error:
            raise from_os_error(error, "cannot write the archive", adapter=self._target) from error

    def _settle(self) -> None:
        try:
            self._files.sync(self._handle)
            self._files.replace(self._name, self._target.name)
            self._files.sync_directory("")
        except OSError as error:
            raise from_os_error(error, "cannot finish the archive", adapter=self._target) from error

    def close(self) -> None:
        with self._using:
            self._closed = True
            self._files.detach()
