"""The page about the command line says what the program does."""

import os

import pytest

from support.command_line_page import PAGE, page


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the page shows a run of the demo")
def test_the_page_is_current():
    """docs/command-line.md is what its generator writes now."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/support/command_line_page.py"
