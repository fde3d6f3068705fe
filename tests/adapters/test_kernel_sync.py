"""Syncs that the kernel runs and an event loop awaits: alone, and under a SQLite store."""

import asyncio
import errno
import gc
import os
import platform
import sys
import threading
from contextlib import suppress

import pytest

from axiom_persistence.adapters._sqlite import writer as _sqlite_writer
from axiom_persistence.adapters.sqlite import SQLiteAdapter
from axiom_persistence.errors import StorageError
from axiom_persistence.platform.kernel_sync import KernelSync


@pytest.fixture
def kernel(tmp_path):
    """One over a file that has something to sync."""
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(descriptor, b"x" * 5000)
    try:
        kernel = KernelSync(descriptor)
    except OSError as error:
        os.close(descriptor)
        pytest.skip(f"this kernel offers no queue for syncs: {error}")
    yield kernel
    kernel.close()


def event_descriptors():
    """How many descriptors of this process tell of events."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own
            count += os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventfd]"
    return count


class Ended(asyncio.Future):
    """What a sync's end tells."""

    def __call__(self, failed, running):
        self.set_result((failed, running, threading.get_ident()))


class TestAlone:
    async def test_the_loop_is_told(self, kernel):
        """On the loop's thread, again and again."""
        loop = asyncio.get_running_loop()
        for _ in range(3):
            ended = Ended()
            assert kernel.submit(loop, ended)
            assert not ended.done()
            assert await ended == (None, loop, threading.get_ident())

    async def test_one_at_a_time(self, kernel):
        loop = asyncio.get_running_loop()
        ended = Ended()
        assert kernel.submit(loop, ended)
        assert not kernel.submit(loop, Ended())
        await ended
        assert kernel.submit(loop, Ended())

    async def test_close_waits(self, kernel):
        """Whoever closes tells how it ended, and nobody is told twice."""
        ended = Ended()
        assert kernel.submit(asyncio.get_running_loop(), ended)
        closer = threading.Thread(target=kernel.close)
        closer.start()
        closer.join()
        failed, running, thread = await ended
        assert failed is None
        assert (running, thread) == (None, closer.ident)
        assert not kernel.submit(asyncio.get_running_loop(), Ended())
        await asyncio.sleep(0)

    def test_a_closed_loop_leaves_it_to_the_next(self, kernel):
        """What was on its way is told once another loop asks."""
        first = []

        async def leave():
            assert kernel.submit(asyncio.get_running_loop(), lambda *told: first.append(told))

        async def ask():
            ended = Ended()
            while not kernel.submit(asyncio.get_running_loop(), ended):
                await asyncio.sleep(0.001)
            return await ended

        asyncio.run(leave())
        assert asyncio.run(ask())[0] is None
        assert [failed for failed, _ in first] == [None]

    async def test_another_live_loop_is_refused(self, kernel):
        ended = Ended()
        assert kernel.submit(asyncio.get_running_loop(), ended)
        await ended

        async def ask():
            return kernel.submit(asyncio.get_running_loop(), Ended())

        assert await asyncio.to_thread(lambda: asyncio.run(ask())) is False

    async def test_a_file_that_cannot_be_synced_is_refused(self, kernel):
        reading, writing = os.pipe()
        other = KernelSync(reading)
        try:
            assert not other.submit(asyncio.get_running_loop(), Ended())
        finally:
            other.close()
            os.close(writing)

    @pytest.mark.parametrize("after", ["_submit", "_get_events"])
    async def test_a_signal_that_raises_between_two_lines(self, kernel, after):
        """Each sync is told, and as its own: the next one is not taken for the one that was interrupted."""
        loop, ended, call = asyncio.get_running_loop(), [], kernel._call

        def interrupted(number, *rest):
            result = call(number, *rest)
            if number == getattr(kernel, after) and result == 1 and kernel._call is interrupted:
                kernel._call = call
                raise InterruptedError("raised by a handler")
            return result

        kernel._call = interrupted
        raised = []
        loop.set_exception_handler(lambda loop, context: raised.append(context["exception"]))
        with suppress(InterruptedError):
            kernel.submit(loop, lambda *told: ended.append(1))
        while not kernel.submit(loop, lambda *told: ended.append(2)):
            await asyncio.sleep(0.001)
        assert ended == [1]
        assert [type(error) for error in raised] == [InterruptedError] * (after == "_get_events")
        while len(ended) < 2:
            await asyncio.sleep(0.001)
        assert ended == [1, 2]
        await asyncio.to_thread(kernel.close)

    def test_a_loop_that_closes_before_it_unwatches(self, kernel):
        """No descriptor stays open."""
        loop = asyncio.new_event_loop()

        async def ask():
            ended = Ended()
            assert kernel.submit(loop, ended)
            await ended

        loop.run_until_complete(ask())
        kernel.close()
        loop.close()
        told = kernel._told
        kernel.__del__()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(told)

    async def test_a_loop_that_cannot_watch_is_refused(self, kernel, monkeypatch):
        loop = asyncio.get_running_loop()

        def refuse(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as context:
            context.setattr(loop, "add_reader", refuse)
            assert not kernel.submit(loop, Ended())
        ended = Ended()
        assert kernel.submit(loop, ended)
        await ended

    def test_unknown_machines_are_told_so(self, monkeypatch):
        monkeypatch.setattr(platform, "machine", lambda: "vax")
        with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
            KernelSync(0)


@pytest.fixture
def at_once(monkeypatch):
    """A store that has its log synced by the kernel from the second save on."""
    monkeypatch.setattr(_sqlite_writer, "_SAVER_SYNCS", 1)
    monkeypatch.setattr(_sqlite_writer, "_LOOK_PAGES", 1)


async def in_use(adapter):
    """The adapter's own, once it has one."""
    for n in range(200):
        await adapter.commit({"warm": b"%d" % n})
        commits = adapter._writer.commits
        if commits.kernel is not None:
            return commits
        await asyncio.sleep(0.001)
    raise AssertionError("the kernel's queue was never opened")


async def save_often(adapter, key):
    """Among them are some that the kernel syncs, although the thread may be in the way at times."""
    for n in range(100):
        await adapter.commit({key: b"%d" % n})


@pytest.mark.usefixtures("kernel", "at_once")  # the first skips where there is none
class TestUnderAStore:
    async def test_lone_saves_go_through_it(self, tmp_path, monkeypatch):
        """And are there after a reopen; a hundred at once go through the thread."""
        async with SQLiteAdapter(tmp_path / "a.db") as adapter:
            commits = await in_use(adapter)
            real, asked = commits.kernel.submit, []
            monkeypatch.setattr(
                commits.kernel, "submit", lambda *args: asked.append(real(*args)) or asked[-1]
            )
            for n in range(50):
                await adapter.commit({"k": b"%d" % n})
            assert sum(asked) >= 40
            await asyncio.gather(*(adapter.commit({f"k{n}": b"x"}) for n in range(100)))
            assert commits.last_group > 1
        async with SQLiteAdapter(tmp_path / "a.db") as adapter:
            assert await adapter.read("k") == b"49"
            assert await adapter.read("k99") == b"x"

    async def test_a_failed_sync_ends_all_writing(self, tmp_path, monkeypatch):
        """As where the thread's own fails: the commit raises, and every later one."""
        adapter = SQLiteAdapter(tmp_path / "a.db")
        await adapter.aopen()
        commits = await in_use(adapter)

        def fail(loop, done):
            loop.call_soon(done, OSError(errno.EIO, "Input/output error"), loop)
            return True

        monkeypatch.setattr(commits.kernel, "submit", fail)
        with pytest.raises(StorageError, match="Input/output error") as raised:
            await save_often(adapter, "k")
        assert raised.value.key == "k"
        with pytest.raises(StorageError, match="nothing is written any more"):
            adapter.commit_now({"k": b"2"})
        await adapter.aclose()
        async with SQLiteAdapter(tmp_path / "a.db") as adapter:
            await adapter.commit({"k": b"3"})

    async def test_closing_acknowledges_what_is_on_its_way(self, tmp_path):
        for n in range(20):
            adapter = SQLiteAdapter(tmp_path / "a.db")
            await adapter.aopen()
            await in_use(adapter)
            saving = asyncio.ensure_future(adapter.commit({f"k{n}": b"1"}))
            if n % 2:
                await asyncio.sleep(0)
            await asyncio.gather(saving, adapter.aclose(), return_exceptions=n % 2 == 0)
            async with SQLiteAdapter(tmp_path / "a.db") as again:
                if saving.exception() is None:
                    assert await again.read(f"k{n}") == b"1"

    async def test_a_cancelled_save_leaves_it_usable(self, tmp_path):
        async with SQLiteAdapter(tmp_path / "a.db") as adapter:
            await in_use(adapter)
            for n in range(20):
                saving = asyncio.ensure_future(adapter.commit({"k": b"%d" % n}))
                await asyncio.sleep(0)
                saving.cancel()
                await asyncio.gather(saving, return_exceptions=True)
                await adapter.commit({"other": b"%d" % n})
            assert await adapter.read("k") == b"19"

    def test_loops_come_and_go(self, tmp_path):
        """One that ends in the middle of a save, and two at once."""
        adapter, left = SQLiteAdapter(tmp_path / "a.db"), []

        async def start():
            await adapter.aopen()
            await in_use(adapter)
            left.append(asyncio.ensure_future(adapter.commit({"left": b"1"})))
            await asyncio.sleep(0)

        async def save(name):
            await save_often(adapter, name)
            return await adapter.read(name)

        asyncio.run(start())
        found = []
        threads = [
            threading.Thread(target=lambda name=name: found.append(asyncio.run(save(name)))) for name in "ab"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [b"99", b"99"]
        asyncio.run(adapter.aclose())

        async def look():
            async with SQLiteAdapter(tmp_path / "a.db") as again:
                return [await again.read(key) for key in ("left", "a", "b")]

        assert asyncio.run(look()) == [b"1", b"99", b"99"]

    async def test_a_moved_store_is_noticed(self, tmp_path):
        (tmp_path / "there").mkdir()
        adapter = SQLiteAdapter(tmp_path / "there" / "a.db")
        await adapter.aopen()
        commits = await in_use(adapter)
        (tmp_path / "there").rename(tmp_path / "elsewhere")
        assert commits.kernel is not None
        with pytest.raises(StorageError):
            await adapter.commit({"k": b"1"})
        with pytest.raises(StorageError):
            await adapter.commit({"k": b"2"})
        await adapter.aclose()

    async def test_it_closes_its_descriptors(self, tmp_path):
        gc.collect()
        before = event_descriptors()
        for _ in range(3):
            await self._open_and_close(tmp_path)
        gc.collect()
        assert event_descriptors() <= before

    async def _open_and_close(self, tmp_path):
        async with SQLiteAdapter(tmp_path / "a.db") as adapter:
            await in_use(adapter)
            await adapter.commit({"k": b"1"})

    async def test_a_loop_takes_only_its_own_saves(self, tmp_path, monkeypatch):
        """Another's would wait for this one, which may stand still or be at its end."""
        async with SQLiteAdapter(tmp_path / "a.db") as adapter:
            commits = await in_use(adapter)
            committed, taken, saved = threading.Event(), threading.Event(), []
            real = commits.sync_in_kernel

            def late(loop):
                if threading.current_thread() is thread:
                    committed.set()
                    taken.wait(20)  # until the other loop has asked for a sync
                return real(loop)

            async def save():
                await adapter.commit({"theirs": b"x"})
                saved.append(1)

            for n in range(4):
                await adapter.commit({"theirs": b"%d" % n})
            await asyncio.sleep(0.05)  # the thread has looked at the log
            thread = threading.Thread(target=lambda: asyncio.run(save()))
            monkeypatch.setattr(commits, "sync_in_kernel", late)
            thread.start()
            assert committed.wait(20)
            for n in range(100):  # the thread may be in the way
                ours = asyncio.ensure_future(adapter.commit({"warm": b"%d" % n}))
                await asyncio.sleep(0)
                if commits.kernel._is_on_its_way():
                    break
                await ours
            taken.set()
            thread.join(20)  # while this loop stands still
            assert saved == [1]
            await ours

    async def test_without_ctypes_the_thread_syncs(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "axiom_persistence.platform.kernel_sync", None)
        async with SQLiteAdapter(tmp_path / "a.db") as adapter:
            await save_often(adapter, "k")
            assert adapter._writer.commits.kernel is None
            assert adapter._writer._tried_kernel

    async def test_without_it_the_thread_syncs(self, tmp_path, monkeypatch):
        monkeypatch.setattr(platform, "machine", lambda: "vax")
        async with SQLiteAdapter(tmp_path / "a.db") as adapter:
            await save_often(adapter, "k")
            assert adapter._writer.commits.kernel is None
            assert adapter._writer._tried_kernel
