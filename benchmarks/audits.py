"""How fast an audit trail is sealed and verified."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from axiom_persistence import open_persistence
from axiom_persistence.layers.audited import Audited
from axiom_persistence.security import AuditLog

from .scenarios import Figures, Parameters, scenario, settled

__all__ = ["AT_ONCE"]

AT_ONCE = 256


@scenario("verify_audit")
async def verify_audit(directory: Path, parameters: Parameters) -> Figures:
    """A trail of so many commits of one key, in SQLite under the whole stack; the best of three proofs."""
    entries = parameters["entries"]
    async with open_persistence(directory / "audited.db", audit=AuditLog(actor="somebody")) as persistence:
        audited = persistence.adapter.find(Audited)
        assert audited is not None
        sealing = 0.0
        for first in range(0, entries, AT_ONCE):
            for number in range(first, min(first + AT_ONCE, entries)):
                audited.commit_now({f"key{number % 100}": b"{}"})
            begin = perf_counter()
            await audited.seal()
            sealing += perf_counter() - begin
        settled()
        times = []
        for _ in range(3):
            begin = perf_counter()
            report = await persistence.verify_audit()
            times.append(perf_counter() - begin)
            assert report
            assert report.entries >= entries
    return {"entries_per_second": entries / min(times), "seal_us": sealing / entries * 1e6}
