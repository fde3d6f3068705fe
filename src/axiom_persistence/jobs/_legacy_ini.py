"""INI files, as configparser and many others write them: every value is text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ._legacy import Found

__all__ = ["read"]

_OPTION: Final = re.compile(r"([^=:\s][^=:]*?)\s*[=:]\s?(.*)\Z")


def read(path: Path) -> Iterator[Found]:
    """``section/option`` and its text, lines that continue it included. ``#`` and ``;`` begin comments."""
    text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    section, option, lines = "", "", [""]
    for number, line in enumerate([*text.splitlines(), ""], 1):
        stripped = line.strip()
        if option and stripped and line[0].isspace():
            lines.append(stripped)
            continue
        if option:
            yield _found(option, lines)
            option = ""
        if not stripped or stripped[0] in "#;":
            continue
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1] + "/"
        elif match := _OPTION.match(stripped):
            option, lines = section + match[1], [match[2].strip()]
        else:
            yield Found(f"line {number}", problem="it is neither a section nor a name with a value")
    if option:
        yield _found(option, lines)


def _found(option: str, lines: list[str]) -> Found:
    value = "\n".join(lines)
    if value.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in option + value):
        return Found(option, value)
    name = option.encode(errors="replace").decode()
    return Found(name, problem="it is not UTF-8")
