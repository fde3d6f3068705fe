"""Who acts, and why: what an audit trail writes beside each change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from ..errors import ConfigurationError, shown

__all__ = ["ACTOR", "LONGEST", "REASON", "actor", "because", "checked_words"]

LONGEST: Final = 256
"""Characters of a name or a reason."""

ACTOR: Final[ContextVar[str | None]] = ContextVar("axiom_persistence_actor", default=None)
REASON: Final[ContextVar[str | None]] = ContextVar("axiom_persistence_reason", default=None)


@contextmanager
def actor(name: str, *, reason: str | None = None) -> Iterator[None]:
    """Whoever makes the changes inside this block, and why: ``with actor("anna", reason="ticket 7"):``

    Holds for the task or thread that enters it and for tasks that begin inside. Both are kept in the audit
    trail as they are given: a name, no secret. At most 256 characters each.
    """
    named = ACTOR.set(checked_words(name, "actor"))
    try:
        if reason is None:
            yield
        else:
            with because(checked_words(reason, "reason")):
                yield
    finally:
        ACTOR.reset(named)


@contextmanager
def because(reason: str) -> Iterator[None]:
    """Why the changes inside this block are made. A reason that holds already stands before it."""
    outer = REASON.get()
    given = REASON.set(reason if outer is None else f"{outer}; {reason}")
    try:
        yield
    finally:
        REASON.reset(given)


def checked_words(words: str, what: str) -> str:
    """``words``, if an audit trail can keep them. Raises ``ConfigurationError``."""
    if not isinstance(words, str) or not words or len(words) > LONGEST or not _has_utf8(words):
        raise ConfigurationError(
            f"{what} is a text of 1 to {LONGEST} characters, not {shown(words)}",
            hint='name a person or a program: actor("anna")',
        )
    return words


def _has_utf8(words: str) -> bool:
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True
