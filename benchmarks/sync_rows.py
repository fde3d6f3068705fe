"""Rows of what it costs that every change is marked, and of sending it to other devices."""

from __future__ import annotations

from .row import OURS, Goal, Job, Metric, Row

__all__ = ["sync_rows"]

_PLAIN, _MARKED = f"{OURS}, plain", f"{OURS}, synchronised"


def sync_rows() -> list[Row]:
    return [
        _cost("synchronised-save", "A durable save with its mark", "", 1500),
        _cost(
            "synchronised-process-exit", "A save that survives SIGKILL with its mark", "-process-exit", 5000
        ),
        Row(
            "synchronised-assignment",
            "A field assigned, kept at once with its mark",
            (Metric("p50_us", "p50 µs"),),
            (
                Job(_PLAIN, "assign", {"how": "field", "count": 5000}),
                Job(_MARKED, "assign", {"how": "field", "count": 5000, "synchronised": True}),
            ),
            (Goal(_MARKED, _PLAIN, "p50_us", 1.3),),
            rounds=5,
        ),
        Row(
            "first-synchronisation",
            "A first synchronisation of 5,000 records of 1.1 KB",
            (
                Metric("sent_per_second", "records a second, sent"),
                Metric("received_per_second", "records a second, taken over"),
                Metric("idle_us", "µs a meeting with nothing to do"),
            ),
            (
                Job(
                    f"{OURS}, over an SQLite file",
                    "first_sync",
                    {"remote": "sqlite:{}/remote.db", "count": 5000},
                ),
                Job(f"{OURS}, over a directory", "first_sync", {"remote": "file:{}/remote", "count": 5000}),
            ),
            rounds=3,
        ),
    ]


def _cost(name: str, title: str, kind: str, count: int) -> Row:
    return Row(
        name,
        title,
        (Metric("p50_us", "µs a save"),),
        (
            Job(_PLAIN, "save", {"contender": f"ours{kind}", "count": count}),
            Job(_MARKED, "save", {"contender": f"ours-synchronised{kind}", "count": count}),
        ),
        (Goal(_MARKED, _PLAIN, "p50_us", 1.25),),
        rounds=5,
    )
