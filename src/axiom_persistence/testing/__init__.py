"""For those who write adapters and for those who test applications.

``AdapterSuite`` checks the promises of an adapter, ``AdapterMachine`` compares one with a dict,
``ConfidentialMemory`` takes secrets in tests. Everything is imported when it is first asked for: the
suite needs pytest and Hypothesis, applications do not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .confidential import ConfidentialMemory
    from .conformance import AdapterSuite
    from .machine import AdapterMachine, check_against_dict

__all__ = ["AdapterMachine", "AdapterSuite", "ConfidentialMemory", "check_against_dict"]

_WHERE: Final = {
    "AdapterMachine": "machine",
    "AdapterSuite": "conformance",
    "ConfidentialMemory": "confidential",
    "check_against_dict": "machine",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
