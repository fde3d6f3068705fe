"""Syncing a file without a thread that sleeps meanwhile: Linux does it, and tells the event loop.

A thread that waits for a sync must be woken to begin it, woken at its end, and must then wake the event
loop; where each of them has slept as long as a disk takes, that costs as much as a fast sync itself. The
kernel's own queue (``io_submit(2)`` with ``IOCB_CMD_FDSYNC``, since Linux 4.18) does what ``fdatasync`` does
and makes a descriptor readable that the event loop watches.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import platform
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

__all__ = ["Done", "KernelSync"]

# io_setup, io_destroy, io_submit, io_getevents: no C library has functions for them.
# https://github.com/torvalds/linux/blob/master/include/uapi/asm-generic/unistd.h and
# https://github.com/torvalds/linux/blob/master/arch/x86/entry/syscalls/syscall_64.tbl
_GENERIC: Final = (0, 1, 2, 4)
_NUMBERS: Final = {"x86_64": (206, 207, 209, 208), "aarch64": _GENERIC, "riscv64": _GENERIC}
_FDSYNC: Final = 3  # IOCB_CMD_FDSYNC
_RESFD: Final = 1  # IOCB_FLAG_RESFD
_UNTAKEN: Final = 1
"""Written to a request's ``key``, which the kernel overwrites with 0 (KIOCB_KEY) when it takes it."""

Done = Callable[[OSError | None, asyncio.AbstractEventLoop | None], None]
"""Told how the sync ended, and which event loop is running on this thread, if it is one of its callbacks."""


class _Request(ctypes.LittleEndianStructure):
    """``struct iocb``: https://github.com/torvalds/linux/blob/master/include/uapi/linux/aio_abi.h"""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_uint32),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("descriptor", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("told", ctypes.c_uint32),
    )


class _Event(ctypes.LittleEndianStructure):
    _fields_ = (
        ("data", ctypes.c_uint64),
        ("request", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("result2", ctypes.c_int64),
    )


class KernelSync:
    """Syncs the file behind ``descriptor``, which is its own from now on; one sync at a time.

    Give it one that nothing else syncs: of a page that could not be written the kernel tells once for each
    time that the file was opened, so two who share a descriptor may not both be told.

    Raises OSError where the kernel does not offer this, or a container forbids it.
    """

    def __init__(self, descriptor: int) -> None:
        self._told = -1
        numbers = _NUMBERS.get(platform.machine())
        if sys.platform != "linux" or numbers is None or ctypes.sizeof(ctypes.c_void_p) != 8:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        setup, self._destroy, self._submit, self._get_events = numbers
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        self._call.argtypes = (ctypes.c_long,) * 6
        context = ctypes.c_ulong(0)
        self._told = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._checked(self._call(setup, 1, ctypes.addressof(context), 0, 0, 0))
        self._context = context.value
        self._descriptor = descriptor
        self._request = _Request(opcode=_FDSYNC, descriptor=descriptor, flags=_RESFD, told=self._told)
        self._requests = (ctypes.c_void_p * 1)(ctypes.addressof(self._request))
        self._event = _Event()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done: Done | None = None
        self._closed = False
        self._number = 0

    def submit(self, loop: asyncio.AbstractEventLoop, done: Done) -> bool:
        """Begin a sync; ``done`` is called in ``loop``, which runs on this thread, or by ``close``.

        False: one is on its way, another event loop has it, or the kernel refuses; nothing was done. Where a
        signal's handler raises in the middle, ``done`` may be called twice.
        """
        if self._is_on_its_way() and self._loop is not None and self._loop.is_closed():
            self._finish(None, least=0)  # nobody else will
        with self._lock:
            if self._is_on_its_way() or self._closed or not self._watched_by(loop):
                return False
            # A signal's handler may raise between any two lines, so what says that a request is on its way,
            # and that it has ended, is what the kernel writes: the key of the one, the data of the other.
            self._number += 1
            self._request.key, self._request.data = _UNTAKEN, self._number
            self._done = done
            if self._call(self._submit, self._context, 1, ctypes.addressof(self._requests), 0, 0) != 1:
                self._done = None
                return False
            return True

    def _is_on_its_way(self) -> bool:
        return self._done is not None and self._request.key != _UNTAKEN

    def _watched_by(self, loop: asyncio.AbstractEventLoop) -> bool:
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                return False
            try:
                loop.add_reader(self._told, self._collect)
            except (NotImplementedError, RuntimeError, ValueError, OSError):
                return False
            self._loop = loop
        return True

    def _collect(self) -> None:
        """Called by the event loop once the kernel has told that the sync ended, until this has returned."""
        if not self._finish(self._loop, least=0):
            # It was told of an earlier one. Forgotten first: the right one may end at this moment.
            self._forget_told()
            if not self._finish(self._loop, least=0):
                return
        self._forget_told()

    def _forget_told(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._told)

    def _finish(self, running: asyncio.AbstractEventLoop | None, least: int) -> bool:
        """Tell how the sync ended, if it did; whether nothing is on its way any more."""
        with self._lock:
            done, event = self._done, self._event
            if done is None or self._closed or not self._is_on_its_way():
                return True
            while event.data != self._number:
                count = self._call(self._get_events, self._context, least, 1, ctypes.addressof(event), 0)
                if count == 0:
                    return False
                if count < 0 and ctypes.get_errno() != errno.EINTR:
                    self._checked(count)
            failed = None if event.result >= 0 else OSError(-event.result, os.strerror(-event.result))
        done(failed, running)
        with self._lock:
            if self._done is done:
                self._done = None
        return True

    def close(self) -> None:
        """Wait for a sync that is on its way, and let go of everything. From any thread."""
        self._finish(None, least=1)
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._call(self._destroy, self._context, 0, 0, 0, 0)
            loop, self._loop = self._loop, None
        os.close(self._descriptor)
        if loop is not None:
            with suppress(RuntimeError):  # it is closed and watches nothing any more
                loop.call_soon_threadsafe(self._unwatch, loop)

    def _unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._told)
        self._let_go()

    def _let_go(self) -> None:
        told, self._told = self._told, -1
        if told >= 0:
            os.close(told)

    def __del__(self) -> None:
        self._let_go()  # where the event loop was closed before it came to unwatch it

    def _checked(self, result: int) -> None:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
