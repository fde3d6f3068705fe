"""What the first bytes of a record say of it, without the rest and so without its check."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["HEAD_BYTES", "UNSAID", "expiry_in"]

HEAD_BYTES: Final = 160
"""They hold all that stands before the value, unless the schema has a long name."""

UNSAID: Final = -1
"""The whole record must be looked at."""

_HEAD: Final = re.compile(
    rb'\{"axiom":1,"sum":"[0-9a-f]{16}",(?:"subject":"[0-9a-f-]{49}",)?"schema":"[^"\\]*",(?:"expires":(\d{1,19}),)?"(?:value|compat)":'
)


def expiry_in(head: bytes) -> int | None:
    """When the record that begins so stops being there, in milliseconds since 1970 UTC; None: never.

    ``UNSAID`` where these bytes do not tell: it is no record, is damaged here, or written in another order.
    """
    said = _HEAD.match(head)
    if said is None:
        return UNSAID
    return None if said[1] is None else int(said[1])
