"""What became of every row, for people and for programs: `document.py` (report.json and its companions), `summary.py`
(report.md), `page/` (report.html), `local.py` (all of it for a file on this machine, without a job)."""

from workers.data.report.document import load_report, segments, write_report

__all__ = ["load_report", "segments", "write_report"]
