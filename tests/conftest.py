"""Fixtures of the tests of the typed store."""

import pytest

from embedded import EMBEDDED, Kept


@pytest.fixture(params=EMBEDDED)
def kept(request, tmp_path):
    """Each of the embedded stores in turn."""
    return Kept(request.param, tmp_path)


@pytest.fixture
async def each_store(kept):
    """An open persistence over each of the embedded stores in turn."""
    async with kept.open() as opened:
        yield opened
