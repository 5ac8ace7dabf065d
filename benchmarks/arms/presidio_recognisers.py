"""Presidio's arm: its recognisers of patterns on texts, without a language model.

Argument: a JSON file, a list of texts. Prints one JSON object: `{"seconds": ..., "found": [[[start, end, kind], ...],
...]}`, by text. Runs in Presidio's own environment.
"""

import json
import sys
import time
from pathlib import Path

from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    CryptoRecognizer,
    EmailRecognizer,
    EsNieRecognizer,
    EsNifRecognizer,
    IbanRecognizer,
    IpRecognizer,
    ItFiscalCodeRecognizer,
    PhoneRecognizer,
    UsSsnRecognizer,
)

LEAST_SCORE = 0.4
"""Below it Presidio itself counts on words nearby, which take a language model to read."""
RECOGNISERS = {
    "email": [EmailRecognizer()],
    "iban": [IbanRecognizer()],
    "crypto_address": [CryptoRecognizer()],
    "card": [CreditCardRecognizer()],
    "national_id": [UsSsnRecognizer(), EsNifRecognizer(), EsNieRecognizer(), ItFiscalCodeRecognizer()],
    "phone": [PhoneRecognizer(supported_regions=["US"])],
    "ip": [IpRecognizer()],
}


def find(text: str) -> list[tuple[int, int, str]]:
    """Everything in a text, the surest first where two overlap."""
    results = [
        (-result.score, result.start, result.end, kind)
        for kind, recognisers in RECOGNISERS.items()
        for recogniser in recognisers
        for result in recogniser.analyze(text, recogniser.supported_entities, None)
        if result.score >= LEAST_SCORE
    ]
    kept: list[tuple[int, int, str]] = []
    for _, start, end, kind in sorted(results):
        if all(end <= other[0] or other[1] <= start for other in kept):
            kept.append((start, end, kind))
    return kept


def main() -> None:
    """The process."""
    texts = json.loads(Path(sys.argv[1]).read_text())
    find(texts[0])
    started = time.process_time()
    found = [find(text) for text in texts]
    print(json.dumps({"seconds": time.process_time() - started, "found": found}))


if __name__ == "__main__":
    main()
