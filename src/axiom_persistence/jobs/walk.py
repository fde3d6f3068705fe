"""Walking a whole store: some keys at a time, with progress, from where an earlier walk ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

__all__ = ["PAGE", "pages"]

PAGE: Final = 512
"""Keys handled together: few round trips, little memory."""


async def pages(
    keys: AsyncIterator[str],
    *,
    size: int = PAGE,
    after: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> AsyncIterator[list[str]]:
    """``keys`` in lists of ``size``; the last one may be shorter, none is empty.

    ``after``: the last key that an earlier walk handled; the walk goes on behind it. ``progress`` is called
    with the number of keys so far, each time a list has been handled, and once at the end.
    """
    page: list[str] = []
    count = 0
    async for key in keys:
        if after is not None and key <= after:
            continue
        page.append(key)
        if len(page) == size:
            yield page
            count += size
            page = []
            if progress is not None:
                progress(count)
    if page:
        yield page
    if progress is not None:
        progress(count + len(page))
