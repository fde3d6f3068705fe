"""Rows of copies of a store, and of what is removed in the background."""

from __future__ import annotations

from .row import OURS, Goal, Job, Metric, Row

__all__ = ["copies_rows"]

_P50, _P99 = Metric("p50_us", "p50 µs"), Metric("p99_us", "p99 µs")


def copies_rows(*, records: int, expired: int) -> list[Row]:
    return [_archive(records), _snapshots(), _sweep(expired)]


def _archive(records: int) -> Row:
    plain, small = "sqlite3 and json", ", 100 bytes each"
    jobs = {
        OURS: {"by": "ours", "small": False},
        plain: {"by": "plain", "small": False},
        OURS + small: {"by": "ours", "small": True},
        plain + small: {"by": "plain", "small": True},
    }
    return Row(
        "archive",
        f"{records:,} records to an archive, and into a new store",
        (Metric("export_us", "export, µs a record"), Metric("import_us", "import, µs a record")),
        tuple(Job(label, "archive", {"records": records, **which}) for label, which in jobs.items()),
        tuple(
            Goal(OURS + size, plain + size, figure, 2)
            for size in ("", small)
            for figure in ("export_us", "import_us")
        ),
        "sqlite3 and json: the same documents from one table to a line of JSON each, and back, 512 in a "
        "transaction, each synced (ours within a second and at the end); no sums, and broken off it begins "
        "anew.",
        rounds=5,
    )


def _snapshots() -> Row:
    alone, beside = f"{OURS}, alone", f"{OURS}, a snapshot every 50 ms"
    parameters = {"keys": 2000, "seconds": 4.0}
    return Row(
        "snapshots",
        "8 durable savers in 2 processes, with a snapshot of the store every 50 ms",
        (_P50, _P99, Metric("saves_per_second", "saves a second"), Metric("snapshots", "snapshots")),
        (
            Job(alone, "beside-snapshots", {**parameters, "snapshots": False}),
            Job(beside, "beside-snapshots", {**parameters, "snapshots": True}),
        ),
        note="A third process makes them, which takes a part of the processors and of the disk. The p50 is "
        "the mean of the two processes, the p99 that of the slower one.",
        rounds=5,
    )


def _sweep(expired: int) -> Row:
    quiet, sweeping = f"{OURS}, nothing expired", f"{OURS}, {expired:,} expired"
    return Row(
        "sweep",
        f"A durable save every 2 ms while {expired:,} expired records are removed",
        (_P50, _P99, Metric("most_us", "the slowest, µs"), Metric("gone_s", "all gone after, s")),
        (
            Job(quiet, "beside-sweep", {"expired": 0, "least_seconds": 20.0}),
            Job(sweeping, "beside-sweep", {"expired": expired, "least_seconds": 0.0}),
        ),
        (Goal(sweeping, quiet, "p99_us", 2), Goal(sweeping, None, "gone_s", 60, unit="s")),
        "They are never listed. The first sweep begins 5 s after the store was opened.",
        rounds=3,
    )
