"""Rows of what an object store costs, beside the bare client."""

from __future__ import annotations

from .row import Goal, Job, Metric, Row

__all__ = ["bucket_rows"]

_OURS, _BARE = "axiom-persistence, objects", "obstore"
_NAMES = {_OURS: "ours-objects", _BARE: "obstore", "py-key-value S3": "kv-s3"}


def bucket_rows() -> list[Row]:
    steps = Metric("p50_us", "p50 µs"), Metric("p99_us", "p99 µs")
    alone = Job("obstore, one after the other", "savers", {"contender": "obstore", "count": 500, "savers": 1})
    return [
        Row(
            "objects-save",
            "A save in a bucket, one after the other",
            steps,
            _jobs("save", count=500),
            (Goal(_OURS, _BARE, "p50_us", 1.2),),
            "SeaweedFS and client on this machine. Ours is typed, checked, and settled when a reply is lost.",
            rounds=3,
        ),
        Row(
            "objects-load",
            "A load from a bucket",
            steps,
            _jobs("load", count=1000),
            (Goal(_OURS, _BARE, "p50_us", 1.2),),
            "Ours asks whether the log goes on; what it has read is kept.",
            rounds=3,
        ),
        Row(
            "objects-savers",
            "100 tasks that save in a bucket",
            (Metric("save_us", "µs a save"), Metric("saves_per_second", "saves a second")),
            (*_jobs("savers", count=5000, savers=100), alone),
            (Goal(_OURS, alone.label, "save_us", 8, times=True),),
            rounds=3,
        ),
    ]


def _jobs(scenario: str, **parameters: object) -> tuple[Job, ...]:
    return tuple(Job(label, scenario, {"contender": name, **parameters}) for label, name in _NAMES.items())
