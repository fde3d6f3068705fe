"""What an application declares: its classes and functions, found by their names."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import click

__all__ = ["find", "named_in"]


def find(module: str, names: Iterable[str]) -> Any:
    """What ``names`` lead to in ``module``, which is looked for in the working directory, too.

    Raises ``ImportError``, ``AttributeError`` or ``ValueError`` where there is none.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")  # as ``python -m`` does
    found: Any = import_module(module)
    for name in names:
        found = getattr(found, name)
    return found


def named_in(text: str) -> Any:
    """The object that ``module:name`` names, or the module."""
    module, _, name = text.partition(":")
    try:
        return find(module, name.split(".") if name else ())
    except (ImportError, AttributeError, ValueError) as error:
        raise click.UsageError(
            f"{text!r} cannot be imported: {error}", click.get_current_context()
        ) from error
