"""What MemoryAdapter promises beyond the suite."""

import threading

import pytest

from axiom_persistence.adapters.memory import MemoryAdapter
from axiom_persistence.errors import CapabilityUnavailableError
from axiom_persistence.storage.adapter import NOT_NOW, Durability
from axiom_persistence.testing import ConfidentialMemory


async def test_the_data_outlives_a_close_within_the_object():
    """Closing keeps everything in the object, versions and the past included; another object is empty."""
    adapter = MemoryAdapter()
    async with adapter:
        await adapter.commit({"a": b"1"})
        await adapter.commit({"a": b"2"})
        before = await adapter.fetch(("a",))
    async with adapter:
        assert await adapter.fetch(("a",)) == before
        assert (await adapter.previous("a")).data == b"1"
    async with MemoryAdapter() as other:
        assert await other.fetch(("a",)) == {}


async def test_it_promises_no_more_than_memory():
    """Traits say that nothing outlives the process, and that no other process shares it."""
    traits = MemoryAdapter().traits

    assert traits.durability is Durability.MEMORY
    assert traits.atomic
    assert not traits.shared
    assert not traits.confidential


async def test_it_is_refused_before_it_is_open():
    """Every verb of an adapter that was never opened, or is closed, says so."""
    adapter = MemoryAdapter()
    for _ in range(2):
        with pytest.raises(CapabilityUnavailableError):
            await adapter.fetch(("a",))
        with pytest.raises(CapabilityUnavailableError):
            await adapter.commit({"a": b"1"})
        with pytest.raises(CapabilityUnavailableError):
            adapter.commit_now({"a": b"1"})
        with pytest.raises(CapabilityUnavailableError):
            adapter.fetch_now("a")
        with pytest.raises(CapabilityUnavailableError):
            await adapter.previous("a")
        with pytest.raises(CapabilityUnavailableError):
            await adapter.saved_at("a")
        with pytest.raises(CapabilityUnavailableError):
            await anext(adapter.keys())
        await adapter.aopen()
        await adapter.aclose()


async def test_the_synchronous_verbs_always_work():
    """commit_now and fetch_now never answer that they cannot."""
    async with MemoryAdapter() as adapter:
        assert adapter.fetch_now("a") is None
        assert adapter.commit_now({"a": b""}) is not None
        assert adapter.fetch_now("a") is not NOT_NOW
        assert adapter.fetch_now("a").data == b""


async def test_the_previous_generation_is_the_one_before():
    """Exactly the bytes before the current ones are kept, with their version."""
    async with MemoryAdapter() as adapter:
        for n in range(4):
            before = (await adapter.fetch(("a",))).get("a")
            await adapter.commit({"a": b"%d" % n})
            assert await adapter.previous("a") == before


@pytest.mark.parametrize("value", ["text", bytearray(b"1"), memoryview(b"1"), 1])
async def test_what_is_not_bytes_changes_nothing(value):
    """It is refused before any key is written, as what the caller could still change is."""
    async with MemoryAdapter() as adapter:
        with pytest.raises(TypeError, match=r"the value of 'b' is .*, not bytes"):
            await adapter.commit({"a": b"1", "b": value})
        assert await adapter.fetch(("a", "b")) == {}


async def test_threads_commit_whole_batches():
    """Threads that write and read without an event loop never see half of a commit."""
    adapter = MemoryAdapter()
    await adapter.aopen()
    adapter.commit_now({"a": b"0", "b": b"0"})
    halves = []

    def write(thread):
        for n in range(300):
            data = b"%d-%d" % (thread, n)
            adapter.commit_now({"a": data, "b": data})

    def read():
        for _ in range(300):
            fetch = adapter.fetch(("a", "b"))
            try:
                fetch.send(None)
            except StopIteration as done:
                if done.value["a"].data != done.value["b"].data:
                    halves.append(done.value)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert halves == []
    assert adapter.stats() == {"commits": 601, "records": 2}
    assert adapter.change_mark() == 601


async def test_confidential_memory_says_so():
    """ConfidentialMemory differs from MemoryAdapter in that one trait, and in its name."""
    async with ConfidentialMemory() as adapter:
        assert adapter.traits.confidential
        assert adapter.traits.atomic
        assert repr(adapter) == "ConfidentialMemory()"
        await adapter.write("token", b"secret")
        assert await adapter.read("token") == b"secret"
