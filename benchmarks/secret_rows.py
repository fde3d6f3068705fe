"""Rows of what secrecy costs: an encrypted store against a plain one, the keychain against its library."""

from __future__ import annotations

from .row import OURS, Goal, Job, Metric, Row

__all__ = ["secret_rows"]

P50 = Metric("p50_us", "p50 µs")
SEALED = f"{OURS}, encrypted"


def secret_rows() -> list[Row]:
    return [
        _pair("encrypted-save", "A save of 1 KB in an encrypted store", "save", "-process-exit", 5000, 1.3),
        _pair("encrypted-durable-save", "A durable save in an encrypted store", "save", "", 1500, 1.3),
        _pair("encrypted-load", "A load of 1 KB without a cache", "load", "-uncached", 10_000, 1.3),
        _pair(
            "encrypted-cached-load", "A load from the cache of an encrypted store", "load", "", 20_000, 1.1
        ),
        _keychain(),
    ]


def _pair(name: str, title: str, scenario: str, kind: str, count: int, limit: float) -> Row:
    return Row(
        name,
        title,
        (P50,),
        tuple(
            Job(label, scenario, {"contender": contender + kind, "count": count})
            for label, contender in ((OURS, "ours"), (SEALED, "ours-encrypted"))
        ),
        (Goal(SEALED, OURS, "p50_us", limit),),
    )


def _keychain() -> Row:
    labels = {
        "ours": f"{OURS}, keychain",
        "secretstorage": "secretstorage",
        "messages": "the messages themselves",
        "keyring": "keyring",
    }
    return Row(
        "keychain",
        "A small secret in the keychain",
        (Metric("write_us", "write, µs"), Metric("read_us", "read, µs")),
        tuple(Job(label, "keychain", {"way": way, "count": 100}) for way, label in labels.items()),
        (
            *(Goal(labels["ours"], "secretstorage", metric, 1.2) for metric in ("write_us", "read_us")),
            *(Goal(labels["ours"], "keyring", metric, 5, times=True) for metric in ("write_us", "read_us")),
        ),
        "All on one gnome-keyring, which rewrites its file at each write: that one message is most of "
        "what any write costs. keyring connects at each call.",
        rounds=3,
    )
