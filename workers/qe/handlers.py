"""What only pw.x needs beside the adapters of every session; what it finds is decided in failures.py."""

from __future__ import annotations

from workers.handlers import Pace, SessionHandler
from workers.qe.failures import diagnose_stagnation
from workers.qe.jobs import PwSession


class StagnationMonitor(SessionHandler):
    """Stops an scf cycle that goes nowhere, while there is something else to try."""

    is_monitor = True
    session: PwSession

    def __init__(self, session: PwSession) -> None:
        super().__init__(session)
        self._pace = Pace()

    def check(self, directory: str = "./") -> bool:  # noqa: ARG002  # custodian's signature
        """Whether the running cycle has not improved for ten iterations."""
        session = self.session
        if session.asked.calculation != "scf" or not session.running:
            return False
        if not self._pace.is_due(session.attempt):
            return False
        self.diagnosis = diagnose_stagnation(session.stdout())
        if self.diagnosis is None:
            return False
        session.wants_density = session.remedy(self.diagnosis) is not None
        return session.wants_density
