"""Walking a whole store: some keys at a time, with progress, from where an earlier walk ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple

__all__ = ["PAGE", "OnProgress", "Progress", "pages"]

PAGE: Final = 512
"""Keys handled together: few round trips, little memory."""


class Progress(NamedTuple):
    """How far a job is, as its ``progress`` function is told after each piece of work and at the end."""

    done: int
    """Records handled so far."""
    total: int | None = None
    """How many there will be. None: nobody knows before the end."""
    last: str | None = None
    """The last key that was handled."""


OnProgress = Callable[[Progress], object]
"""What a job calls with its ``Progress``; what it raises ends the job, which can be begun again."""


async def pages(
    keys: AsyncIterator[str],
    *,
    size: int = PAGE,
    after: str | None = None,
    total: int | None = None,
    progress: OnProgress | None = None,
) -> AsyncIterator[list[str]]:
    """``keys`` in lists of ``size``; the last one may be shorter, none is empty.

    ``after``: the last key that an earlier walk handled; the walk goes on behind it. ``progress`` is told
    each time a list has been handled, and once at the end; ``total`` is for it alone.
    """
    page: list[str] = []
    done = 0
    last = after

    def tell() -> None:
        if progress is not None:
            progress(Progress(done, total, last))

    async for key in keys:
        if after is not None and key <= after:
            continue
        page.append(key)
        if len(page) == size:
            yield page
            done, last, page = done + size, key, []
            tell()
    if page:
        yield page
        done, last = done + len(page), page[-1]
    tell()
