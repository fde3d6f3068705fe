"""Fixtures of the tests of the typed store."""

import signal

import pytest

from support.embedded import Kept, stores_for

# A shell that starts its jobs in the background has them ignore Ctrl-C, and so would the programs that tests
# start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The same of nohup and hanging up.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_generate_tests(metafunc):
    if "kept" in metafunc.fixturenames:
        metafunc.parametrize("kept", stores_for(metafunc.module.__name__), indirect=True)


@pytest.fixture
def kept(request, tmp_path):
    """Each of the stores in turn."""
    return Kept(request.param, tmp_path)


@pytest.fixture
async def each_store(kept):
    """An open persistence over each of the stores in turn."""
    async with kept.open() as opened:
        yield opened


def pytest_terminal_summary(terminalreporter):
    """What tests want to have said, however many processes they ran in."""
    reports = [
        report for kind in ("passed", "failed", "xfailed") for report in terminalreporter.getreports(kind)
    ]
    told = [text for report in reports for name, text in report.user_properties if name == "told"]
    if told:
        terminalreporter.section("tried")
        for text in sorted(told):
            terminalreporter.line(text)
