"""Pages of keys: whole, in order, resumable, and told of."""

import pytest

from axiom_persistence.jobs.walk import pages


async def some(count):
    for number in range(count):
        yield f"k{number:03}"


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 10, 11])
async def test_every_key_is_in_one_page(count):
    """No page is empty or larger than asked, and together they hold every key in order."""
    told = []
    found = [page async for page in pages(some(count), size=5, progress=told.append)]
    assert [key for page in found for key in page] == [key async for key in some(count)]
    assert all(0 < len(page) <= 5 for page in found)
    assert told[-1].done == count
    assert told == sorted(told)
    assert told[-1].last == (found[-1][-1] if found else None)


@pytest.mark.parametrize("stop", range(1, 4))
async def test_a_walk_goes_on_where_another_ended(stop):
    """With the last key that was handled, nothing is handled twice or left out."""
    handled = []
    async for page in pages(some(17), size=5):
        handled += page
        stop -= 1
        if not stop:
            break
    async for page in pages(some(17), size=5, after=handled[-1]):
        handled += page
    assert handled == [key async for key in some(17)]


async def test_progress_follows_the_work():
    """A page is counted when it has been handled, not when it is handed out."""
    told = []
    seen = []
    async for page in pages(some(10), size=5, progress=told.append):
        seen.append(([so_far.done for so_far in told], len(page)))
    assert seen == [([], 5), ([5], 5)]
    assert [so_far.done for so_far in told] == [5, 10, 10]
