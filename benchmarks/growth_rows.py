"""Rows of how cost grows: keys, size of a value, savers, processes."""

from __future__ import annotations

from .row import OURS, Goal, Job, Metric, Row

__all__ = ["growth_rows"]


def growth_rows(*, most_keys: int) -> list[Row]:
    return [_keys(most_keys), _pages(), _delete_prefix(), _sizes(), _savers(), _processes()]


def _keys(most: int) -> Row:
    sizes = {f"{OURS}, {keys:,} keys": keys for keys in (1000, 10_000, 100_000, 1_000_000) if keys <= most}
    few, *_, many = sizes
    return Row(
        "keys",
        f"From 1,000 to {most:,} keys",
        (
            Metric("load_us", "uncached load, µs"),
            Metric("save_us", "durable save, µs"),
            Metric("savers_us", "100 savers, µs a save"),
            Metric("open_ms", "open, ms"),
            Metric("grown_mib", "30,000 loads add, MiB"),
            Metric("resident_mib", "resident, MiB"),
        ),
        tuple(
            Job(label, "keys", {"keys": keys, "count": 3000}, series=OURS, x=keys)
            for label, keys in sizes.items()
        ),
        (
            Goal(many, few, "load_us", 2.5),
            Goal(many, few, "save_us", 1.6),
            Goal(many, few, "savers_us", 3),
            Goal(many, few, "open_ms", 3),
            Goal(many, None, "grown_mib", 24, unit="MiB"),
        ),
        "Keys are drawn at random from all of them. The default cache holds 16 MiB at most.",
        rounds=5,
        chart="metrics",
        prepare=tuple(Job(label, "fill", {"keys": keys}) for label, keys in sizes.items()),
    )


def _pages() -> Row:
    start, end = (f"{OURS}, at the {part}" for part in ("start", "end"))
    parameters = {"keys": 100_000, "count": 2000}
    return Row(
        "pages",
        "A page of 20 of 100,000 keys",
        (Metric("page_us", "a page, µs"), Metric("exists_us", "exists, µs")),
        (
            Job(start, "page", {**parameters, "part": "start"}),
            Job(end, "page", {**parameters, "part": "end"}),
        ),
        (Goal(end, start, "page_us", 3),),
        "Through the whole stack, cache and change streams included.",
        rounds=5,
    )


def _delete_prefix() -> Row:
    plain, stack = "sqlite3 DELETE", f"{OURS}, adapter"
    parameters = {"keys": 100_000}
    return Row(
        "delete-prefix",
        "100,000 keys deleted by their prefix",
        (Metric("delete_ms", "all, ms"), Metric("key_us", "a key, µs")),
        (
            Job(plain, "delete-prefix", {**parameters, "by": "sqlite3"}),
            Job(stack, "delete-prefix", {**parameters, "by": "adapter"}),
            Job(OURS, "delete-prefix", {**parameters, "by": "stack"}),
        ),
        (Goal(stack, plain, "delete_ms", 2), Goal(OURS, plain, "delete_ms", 2)),
        "SQLite's own is one DELETE of the same table in the same file, with a synced commit.",
        rounds=5,
    )


def _sizes() -> Row:
    jobs = []
    for contender, title in (("ours", OURS), ("aiosqlite", "aiosqlite"), ("diskcache", "diskcache")):
        for body, name, count in (
            (0, "1 KB", 500),
            (9_000, "10 KB", 300),
            (99_000, "100 KB", 100),
            (999_000, "1 MB", 30),
        ):
            parameters = {"contender": contender, "count": count, "body_bytes": body}
            jobs.append(Job(f"{title}, {name}", "save", parameters, series=title, x=1000 + body))
    return Row(
        "sizes",
        "A durable save of a larger value",
        (Metric("p50_us", "p50 µs"), Metric("p99_us", "p99 µs")),
        tuple(jobs),
        note="diskcache does not survive the loss of power.",
        rounds=5,
        chart="lines",
    )


def _savers() -> Row:
    jobs = []
    for contender, title in (("ours", OURS), ("aiosqlite", "aiosqlite"), ("diskcache", "diskcache")):
        for savers, count in ((1, 600), (10, 2000), (100, 6000), (1000, 10_000)):
            if contender == "aiosqlite":
                count = min(count, 3000)
            parameters = {"contender": contender, "count": count, "savers": savers}
            label = f"{title}, {savers:,} saver{'s' if savers > 1 else ''}"
            jobs.append(Job(label, "savers", parameters, series=title, x=savers))
    return Row(
        "savers",
        "From 1 to 1,000 durable savers",
        (Metric("save_us", "µs a save"), Metric("saves_per_second", "saves a second")),
        tuple(jobs),
        note="diskcache does not survive the loss of power.",
        rounds=5,
        chart="lines",
    )


def _processes() -> Row:
    jobs = []
    for contender, title in (("ours", OURS), ("aiosqlite", "aiosqlite")):
        for many in (1, 2, 4, 8):
            parameters = {"contender": contender, "processes": many, "seconds": 1.0}
            label = f"{title}, {many} process{'es' if many > 1 else ''}"
            jobs.append(Job(label, "processes", parameters, series=title, x=many))
    return Row(
        "processes",
        "From 1 to 8 processes, one store",
        (Metric("save_us", "µs a save"), Metric("saves_per_second", "saves a second, together")),
        tuple(jobs),
        rounds=3,
        chart="lines",
    )
