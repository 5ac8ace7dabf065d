"""Overlap of words between answer and reference, as in SQuAD (Rajpurkar et al., 2016, arXiv:1606.05250)."""

import re
import string
from collections import Counter

from workers.evaluation.metrics.metric import mean_of

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_TO_SPACE = str.maketrans(dict.fromkeys(string.punctuation, " "))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the multiset of words, 0.0 to 1.0; two empty texts agree.

    Words are lower-cased, English articles left out. Punctuation separates words, where SQuAD deletes it: so the key
    and the value of `{"a":"b"}` stay two words.
    """
    given, wanted = Counter(_words(answer)), Counter(_words(reference))
    if not given or not wanted:
        return float(given == wanted)
    common = (given & wanted).total()
    return 2.0 * common / (given.total() + wanted.total())


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_TO_SPACE)).split()


TOKEN_F1 = mean_of("Token F1", token_f1)
