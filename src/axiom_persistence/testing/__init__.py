"""For those who write adapters and for those who test applications.

``AdapterSuite`` checks the promises of an adapter, and ``AdapterMachine`` compares one with a dict.
``ConfidentialMemory`` takes secrets in tests. ``full_disk`` and ``damage`` make happen what rarely does, and
``PassingTime`` lets values expire. ``FailingFileSystem`` fails at the nth operation,
``RecordingFileSystem`` writes down what is done to a disk, and ``explore`` tries every state a crash
could have left of it. ``TCPProxy`` is a network that loses replies, freezes and breaks off, and
``ICloudSimulator`` what Apple's key-value store does to the values of several devices. The module
``torture`` kills a saving process again and again, and ``check_linearizable`` judges what a ``Recorder`` saw
of several processes. Everything is imported when it is first asked for: the suite needs pytest and
Hypothesis, applications do not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .confidential import ConfidentialMemory
    from .conformance import AdapterSuite
    from .crash import CrashState, crash_states, explore
    from .failing import FailingFileSystem, Fault
    from .icloud import ICloudDevice, ICloudSimulator
    from .linearizability import (
        LinearizabilityReport,
        Operation,
        Recorder,
        Unknown,
        Violation,
        check_linearizable,
    )
    from .machine import AdapterMachine, check_against_dict
    from .provoking import PassingTime, damage, full_disk
    from .proxy import HeldRequest, TCPProxy
    from .recording import RecordingFileSystem

__all__ = [
    "AdapterMachine",
    "AdapterSuite",
    "ConfidentialMemory",
    "CrashState",
    "FailingFileSystem",
    "Fault",
    "HeldRequest",
    "ICloudDevice",
    "ICloudSimulator",
    "LinearizabilityReport",
    "Operation",
    "PassingTime",
    "Recorder",
    "RecordingFileSystem",
    "TCPProxy",
    "Unknown",
    "Violation",
    "check_against_dict",
    "check_linearizable",
    "crash_states",
    "damage",
    "explore",
    "full_disk",
]

_NAMES: Final = {
    "confidential": ("ConfidentialMemory",),
    "conformance": ("AdapterSuite",),
    "crash": ("CrashState", "crash_states", "explore"),
    "failing": ("FailingFileSystem", "Fault"),
    "icloud": ("ICloudDevice", "ICloudSimulator"),
    "linearizability": (
        *("LinearizabilityReport", "Operation", "Recorder", "Unknown", "Violation"),
        "check_linearizable",
    ),
    "machine": ("AdapterMachine", "check_against_dict"),
    "provoking": ("PassingTime", "damage", "full_disk"),
    "proxy": ("HeldRequest", "TCPProxy"),
    "recording": ("RecordingFileSystem",),
}
_WHERE: Final = {name: home for home, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
