"""What the rows are like, as a score with its parts, and whether that is good enough for the job."""

from workers.data.quality.assess import Assessment, assess
from workers.data.quality.score import PARTS, Quality
from workers.data.quality.thresholds import check_quality

__all__ = ["PARTS", "Assessment", "Quality", "assess", "check_quality"]
