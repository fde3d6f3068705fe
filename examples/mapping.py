"""A dict that stays: give it to code that expects a dict of settings, without changing that code.

Run it:  python examples/mapping.py theme dark      (remembers it)
         python examples/mapping.py                 (shows everything)
"""

import sys
from collections.abc import MutableMapping

from axiom_persistence.blocking import open_persistence


def change(settings: MutableMapping[str, str], arguments: list[str]) -> None:
    """Code that knows about dicts only."""
    settings.update(zip(arguments[::2], arguments[1::2], strict=True))
    for name, value in settings.items():
        print(f"{name} = {value}")


if __name__ == "__main__":
    with open_persistence("mapping") as persistence:
        change(persistence.mapping("settings", str), sys.argv[1:])
