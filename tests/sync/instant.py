"""An event loop for simulations: nothing comes from outside, so it never asks the system what did.

To ask takes a fifth of the time of a simulation.
"""

import asyncio
import selectors


class NothingOutside(selectors.SelectSelector):
    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("the simulation waits for something that nothing in it will do")
        return []


def run(coroutine):
    """As ``asyncio.run``."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(NothingOutside())) as runner:
        return runner.run(coroutine)
