"""How surprised the model is by the reference: `exp` of the mean negative log-likelihood per token."""

import numpy as np

from workers.evaluation.metrics.metric import Metric

# Over all trainable tokens of the split, not the mean of the rows' perplexities (Jelinek et al., 1977).
PERPLEXITY = Metric(
    label="Perplexity",
    higher_is_better=False,
    needs_answer=False,
    needs_pair=False,
    measure=lambda row: row.nll_sum,
    weigh=lambda row: float(row.num_tokens),
    finish=np.exp,
)
