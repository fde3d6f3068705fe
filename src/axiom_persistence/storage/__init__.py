"""The contract of a place that keeps bytes, and what its implementers need."""

from .adapter import (
    NOT_NOW,
    Changes,
    Durability,
    Expect,
    NotNow,
    StorageAdapter,
    Stored,
    Traits,
    verify_expected,
)
from .basic import BasicAdapter, content_version
from .layer import Layer
from .listing import Listing

__all__ = [
    "NOT_NOW",
    "BasicAdapter",
    "Changes",
    "Durability",
    "Expect",
    "Layer",
    "Listing",
    "NotNow",
    "StorageAdapter",
    "Stored",
    "Traits",
    "content_version",
    "verify_expected",
]
