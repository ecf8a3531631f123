"""Reports on a campaign: an HTML page with its curves, its spending and what it looked at."""

from cereals_tf.report.page import write_report

__all__ = ["write_report"]
