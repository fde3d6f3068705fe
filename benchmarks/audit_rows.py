"""Rows of what an audit trail costs, and how fast it is verified."""

from __future__ import annotations

from .row import OURS, Goal, Job, Metric, Row

__all__ = ["audit_rows"]

_PLAIN, _AUDITED = f"{OURS}, plain", f"{OURS}, audited"


def audit_rows() -> list[Row]:
    return [
        _cost(
            "audited-save", "A durable save with its entry", "save", "p50_us", 1500, "ours", "ours-audited"
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
    name: str, title: str, scenario: str, metric: str, count: int, plain: str, audited: str, **more: int
) -> Row:
    return Row(
        name,
        title,
        (Metric(metric, "µs a save"),),
        (
            Job(_PLAIN, scenario, {"contender": plain, "count": count, **more}),
            Job(_AUDITED, scenario, {"contender": audited, "count": count, **more}),
        ),
        (Goal(_AUDITED, _PLAIN, metric, 1.3),),
        "Sealing goes on meanwhile, once a second.",
        rounds=5,
    )
