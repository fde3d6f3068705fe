"""docs/adapters.md says of each adapter what it says of itself."""

import sys

import pytest

from support.adapters_page import PAGE, page


@pytest.mark.skipif(
    sys.platform != "linux", reason="the page is written on Linux; systems have limits of their own"
)
def test_the_table_is_that_of_today():
    """``cd tests && ../.venv/bin/python -m support.adapters_page`` writes it anew."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text
