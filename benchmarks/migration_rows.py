"""Rows of old records."""

from __future__ import annotations

from .row import OURS, Goal, Job, Metric, Row

__all__ = ["migration_rows"]


def migration_rows() -> list[Row]:
    large, small = _migrate("documents", 20_000, "1.1 KB"), _migrate("small", 50_000, "30 bytes")
    return [large, small, _first(), _without()]


def _migrate(kind: str, count: int, size: str) -> Row:
    ours = f"{OURS}, migrate"
    loops = {f"sqlite3 and {by}, a loop": {"by": by} for by in ("json", "msgspec")}
    careful = {f"{title} that can go back": {**by, "careful": True} for title, by in loops.items()}
    return Row(
        "migrate" if kind == "documents" else f"migrate-{kind}",
        f"{count:,} records of {size} rewritten",
        (Metric("item_us", "µs a record"),),
        tuple(
            Job(title, "migrate", {**by, "kind": kind, "count": count})
            for title, by in {ours: {"by": "ours"}, **loops, **careful}.items()
        ),
        tuple(Goal(ours, title, "item_us", 2) for title in {**loops, **careful}),
        "A thousand in a commit. The first two loops keep no originals, try nothing first and check nothing. "
        "The others try every record before they write one, and keep the originals, as ours does.",
        rounds=5,
    )


def _first() -> Row:
    old, plain = f"{OURS}, an old record", f"{OURS}, a record of today, then the step"
    return Row(
        "first-access",
        "The first load of a record that needs a step",
        (Metric("p50_us", "p50 µs"),),
        (
            Job(old, "first_access", {"how": "old", "count": 5000}),
            Job(plain, "first_access", {"how": "plain", "count": 5000}),
        ),
        (Goal(old, plain, "p50_us", 1.5),),
        "As a dict, each key once. Both stores know the step.",
    )


def _without() -> Row:
    declared, none = f"{OURS}, migrations of other keys", f"{OURS}, no migrations"
    return Row(
        "no-migrations",
        "What migrations cost where there is nothing to migrate",
        (Metric("save_us", "PROCESS_EXIT save p50, µs"), Metric("load_us", "uncached load p50, µs")),
        (
            Job(declared, "without_migrations", {"how": "declared", "count": 5000}),
            Job(none, "without_migrations", {"how": "none", "count": 5000}),
        ),
        (Goal(declared, none, "save_us", 1.05), Goal(declared, none, "load_us", 1.05)),
    )
