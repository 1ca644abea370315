"""What a run asks of vLLM's workers beside answers (``worker_extension_cls``)."""

from __future__ import annotations

from typing import Any

from .report import Report


class Extension:
    """Methods that ``collective_rpc`` finds on every worker."""

    model_runner: Any

    def vtprune_report(self) -> dict[str, Report]:
        """See :meth:`.back.Back.report`."""
        reports: dict[str, Report] = self.model_runner.get_model().back.report()
        return reports

    def vtprune_count(self, *fields: Any) -> int:
        """See :meth:`.back.Back.count`."""
        counted: int = self.model_runner.get_model().back.count(*fields)
        return counted
