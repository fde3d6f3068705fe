"""The end of a process, and forks: all hooks of the library in one list, in the order of their ranks.

``atexit`` and ``os.register_at_fork`` order hooks by when they were registered, so by which module was
imported first. Here a rank says it. Lower ranks run first, at exit and around a fork: who uses a store
finishes before the store. What an application registers with ``atexit`` after its first import of the
library still finds every store open.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterable
from typing import Final

__all__ = [
    "ADAPTERS",
    "BACKGROUND",
    "CACHES",
    "CLIENTS",
    "after_fork",
    "after_fork_in_parent",
    "at_exit",
    "before_fork",
    "not_at_exit",
]

Hook = Callable[[], object]

CLIENTS: Final = 10
CACHES: Final = 20
ADAPTERS: Final = 30
BACKGROUND: Final = 40
"""The event loop of the blocking face: everything above it may still need it to finish."""

# The rank of each hook. One step of a dict cannot be broken up by a thread, so there is no lock that a
# child of a fork could inherit.
_at_exit: Final[dict[Hook, int]] = {}
_before_fork: Final[dict[Hook, int]] = {}
_in_parent: Final[dict[Hook, int]] = {}
_in_child: Final[dict[Hook, int]] = {}


def at_exit(rank: int, hook: Hook) -> None:
    """Call ``hook`` once when the interpreter exits; of one rank, the last registered first."""
    _at_exit[hook] = rank


def not_at_exit(hook: Hook) -> None:
    """Take ``hook`` back. Idempotent."""
    _at_exit.pop(hook, None)


def before_fork(rank: int, hook: Hook) -> None:
    """Call ``hook`` before every fork, in the process that forks."""
    _before_fork[hook] = rank


def after_fork_in_parent(rank: int, hook: Hook) -> None:
    """Call ``hook`` after every fork, in the process that forked."""
    _in_parent[hook] = rank


def after_fork(rank: int, hook: Hook) -> None:
    """Call ``hook`` after every fork, in the child."""
    _in_child[hook] = rank


def _run(hooks: Iterable[Hook]) -> None:
    """Call every hook, whatever the others do. Raises the first error; later ones are shown."""
    first: BaseException | None = None
    for hook in hooks:
        try:
            hook()
        except BaseException as error:
            if first is None:
                first = error
            else:
                sys.excepthook(type(error), error, error.__traceback__)
    if first is not None:
        raise first


def _ranked(hooks: dict[Hook, int]) -> list[Hook]:
    return [hook for hook, _ in sorted(hooks.items(), key=lambda entry: entry[1])]


def _leaving() -> Iterable[Hook]:
    """The hooks that are left, also those that come while others run."""
    while _at_exit:
        hook, _ = min(reversed(list(_at_exit.items())), key=lambda entry: entry[1])
        del _at_exit[hook]
        yield hook


def _end() -> None:
    _run(_leaving())


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _run(_ranked(_before_fork)),
        after_in_parent=lambda: _run(_ranked(_in_parent)),
        after_in_child=lambda: _run(_ranked(_in_child)),
    )
