"""The metrics by name. A new one is one module, one row here, and its name in `luthier.spec.evaluation`."""

from luthier.spec.evaluation import MetricName
from workers.evaluation.metrics.accuracy import ACCURACY
from workers.evaluation.metrics.exact_match import EXACT_MATCH
from workers.evaluation.metrics.json_valid import JSON_VALID
from workers.evaluation.metrics.macro_f1 import MACRO_F1
from workers.evaluation.metrics.metric import Metric, Prediction
from workers.evaluation.metrics.micro_f1 import MICRO_F1
from workers.evaluation.metrics.perplexity import PERPLEXITY
from workers.evaluation.metrics.preference_accuracy import PREFERENCE_ACCURACY
from workers.evaluation.metrics.token_f1 import TOKEN_F1

__all__ = ["METRICS", "Metric", "Prediction"]

METRICS: dict[MetricName, Metric] = {
    "perplexity": PERPLEXITY,
    "exact_match": EXACT_MATCH,
    "token_f1": TOKEN_F1,
    "json_valid": JSON_VALID,
    "accuracy": ACCURACY,
    "micro_f1": MICRO_F1,
    "macro_f1": MACRO_F1,
    "preference_accuracy": PREFERENCE_ACCURACY,
}
