"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

__all__ = ["RAM", "description", "file_system"]

PACKAGES: Final = (
    "axiom-persistence",
    "msgspec",
    "aiosqlite",
    "diskcache",
    "py-key-value-aio",
    "rocksdict",
    "sqlitedict",
    "tinydb",
)
RAM: Final = ("tmpfs", "ramfs")
"""File systems on which nothing that is called durable means anything."""


def file_system(directory: Path) -> tuple[str, str]:
    """The kind of file system ``directory`` is on, and the device below it."""
    place = str(directory.resolve())
    found = ("unknown", "unknown")
    longest = -1
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except FileNotFoundError:
        return found
    for line in mounts:
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:
            kind, device = right.split()[:2]
            found, longest = (kind, device), len(point)
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except FileNotFoundError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> str:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return "unknown"
    return f"{pages * size / 2**30:.0f} GiB"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def description(directory: Path) -> dict[str, str]:
    kind, device = file_system(directory)
    load = "unknown" if not hasattr(os, "getloadavg") else f"{os.getloadavg()[0]:.2f}"
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {_memory_gib()}",
        "system": f"{platform.system()} {platform.release()}",
        "file system": f"{kind} on {device}",
        "load at the start": load,
        "Python": f"{platform.python_version()} ({sys.implementation.name})",
        "SQLite": sqlite3.sqlite_version,
        **{package: _version(package) for package in PACKAGES},
    }
