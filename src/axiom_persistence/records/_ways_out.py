"""What to write when a class has changed and a stored value does not fit it any more."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["way_out"]

_MISSING: Final = re.compile(r"missing required field `(?P<name>[^`]*)`")
_NEWER: Final = "a newer version of the program may have written it: without {forbid} the class would keep it"


def way_out(reason: str, path: str, key: str | None) -> str:
    """The line to write, for the ``reason`` why the value under ``key`` does not fit at ``path``."""
    if "unknown field" in reason:
        return _NEWER.format(forbid="forbid_unknown_fields")
    if "Extra inputs" in reason:
        return _NEWER.format(forbid="extra='forbid'")
    pattern = "..." if key is None else key
    step = (
        f'@migrations.value("1.0", "2.0", key={pattern!r}) in the Migrations that '
        "open_persistence(migrations=...) is given"
    )
    missing = _MISSING.search(reason)
    if missing is not None or reason == "Field required":
        name = path.rpartition(".")[2] if missing is None else missing["name"]
        return f"if the field is new, give it a default, `{name}: ... = ...`; if it was renamed, write {step}"
    if "enum value" in reason or reason.startswith("Input should be '"):
        return (
            "give the member of the enumeration its old value again, or the class a `_missing_` that "
            f"knows it; or write {step}"
        )
    return f"load it as the type it was saved with, or write {step}"
