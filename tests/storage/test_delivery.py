"""Results of a writer thread on their way back to event loops."""

import asyncio
import threading

import pytest

from axiom_persistence.storage.delivery import Job, deliver


async def test_results_and_errors_of_many_from_a_thread():
    """Each gets its own, more than one turn of a loop settles; who was cancelled is left alone."""
    changes = {"k": b"1"}
    jobs = [Job(changes, {"e": "1"}, durable=True) for _ in range(1000)]
    changes["k"] = b"changed"
    for n, job in enumerate(jobs):
        assert (job.changes, job.expect, job.key) == ({"k": b"1"}, {"e": "1"}, "k")
        job.versions = {"k": str(n)}
    jobs[500].error = ValueError("planted")
    jobs[700].future.cancel()
    thread = threading.Thread(target=deliver, args=(jobs,))
    thread.start()
    results = await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)
    thread.join()
    assert results[:500] == [{"k": str(n)} for n in range(500)]
    assert isinstance(results[500], ValueError)
    assert isinstance(results[700], asyncio.CancelledError)


@pytest.mark.parametrize("closed", [False, True])
def test_jobs_of_several_loops(closed):
    """Each is resolved on its own loop; one that was closed keeps nothing from the others."""

    async def job():
        return Job({}, None, durable=False)

    loops = [asyncio.new_event_loop() for _ in range(2)]
    jobs = [loop.run_until_complete(job()) for loop in loops]
    if closed:
        loops[0].close()
    deliver(jobs)
    deliver([])
    for loop, made in zip(loops[closed:], jobs[closed:], strict=True):
        assert loop.run_until_complete(made.future) == {}
        assert made.key is None
        loop.close()
    loops[0].close()
