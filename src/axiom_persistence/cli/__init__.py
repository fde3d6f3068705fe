"""``axiom-persistence``: look into any store, change it, check it.

Needs the extra ``cli``. Data goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what it returns is the exit code (listed in ``_endings.ExitCode``)."""
    try:
        import click  # noqa: F401 - asked first, so that a missing extra gives one line and no traceback
    except ModuleNotFoundError:
        sys.stderr.write(
            "axiom-persistence: the command line needs click: pip install 'axiom-persistence[cli]'\n"
        )
        return 1
    from .app import run

    return run(sys.argv[1:] if arguments is None else list(arguments))
