"""Rows of what an audit trail costs, and how fast it is verified."""

from __future__ import annotations

from .row import OURS, Goal, Job, Metric, Row

__all__ = ["audit_rows"]

_PLAIN, _AUDITED = f"{OURS}, plain", f"{OURS}, audited"


def audit_rows() -> list[Row]:
    return [
        _cost(
            "audited-save",
            "A durable save with its entry",
            "save",
            "p50_us",
            1500,
            "ours",
            "ours-audited",
            floor="",
        ),
        _cost(
            "audited-savers",
            "100 tasks that save durably, with an entry each",
            "savers",
            "save_us",
            10_000,
            "ours",
            "ours-audited",
            savers=100,
        ),
        _cost(
            "audited-process-exit",
            "A save that survives SIGKILL with its entry",
            "save",
            "p50_us",
            5000,
            "ours-process-exit",
            "ours-audited-process-exit",
            floor="-process-exit",
        ),
        Row(
            "verify-audit",
            "100,000 entries verified",
            (Metric("entries_per_second", "entries a second"), Metric("seal_us", "sealing, µs an entry")),
            (Job(_AUDITED, "verify_audit", {"entries": 100_000, "contender": "ours-audited"}),),
            (Goal(_AUDITED, None, "entries_per_second", 100_000, at_least=True, unit="a second"),),
            rounds=3,
        ),
    ]


def _cost(
    name: str,
    title: str,
    scenario: str,
    metric: str,
    count: int,
    plain: str,
    audited: str,
    floor: str | None = None,
    **more: int,
) -> Row:
    """``floor``: how the names of the contenders end that write one row and two with no store around."""
    contenders = {_PLAIN: plain, _AUDITED: audited}
    if floor is not None:
        contenders |= {"sqlite3, one row": f"one-row{floor}", "sqlite3, two rows": f"two-rows{floor}"}
    return Row(
        name,
        title,
        (Metric(metric, "µs a save"),),
        tuple(
            Job(label, scenario, {"contender": contender, "count": count, **more})
            for label, contender in contenders.items()
        ),
        (Goal(_AUDITED, _PLAIN, metric, 1.3),),
        "Sealing goes on meanwhile, once a second."
        + ("" if floor is None else " The second row is as long as an entry."),
        rounds=5,
    )
