"""All kinds of personal data that are found without a model: how, and a look at many texts that says where none can be.

The looks are regular expressions of RE2 without memory of what came before, so that Arrow takes all texts of a batch
through all of them at once; the ways to find, in Python, are exact, and see only the texts that are left.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from luthier.spec.data.pii import PiiSpec
from workers.data.steps.pii import national_ids, network, numbers, secrets
from workers.data.steps.pii.spans import Find, Span, apart

_ESCAPED = r"\\u00[0-7]"
"""JSON inside a text may spell any letter so."""

_KINDS: dict[str, tuple[str, Callable[[Sequence[str]], Find]]] = {
    "secret": (secrets.KEY_GATE, lambda _: secrets.secrets),
    "url_credentials": (network.URL_GATE, lambda _: network.url_credentials),
    "email": (network.EMAIL_GATE, lambda _: network.emails),
    "iban": (numbers.IBAN_GATE, lambda _: numbers.ibans),
    "crypto_address": (secrets.CRYPTO_GATE, lambda _: secrets.crypto_addresses),
    "card": (numbers.DIGITS_GATE, lambda _: numbers.cards),
    "national_id": (f"{numbers.DIGITS_GATE}|{national_ids.NATIONAL_ID_GATE}", national_ids.national_ids),
    "phone": (numbers.DIGITS_GATE, numbers.phones),
    "ip": (network.IP_GATE, lambda _: network.public_addresses),
}
"""By kind, first what counts where two overlap: the look, and how it is found in some countries."""


class Recognisers:
    """Those that a job asks for."""

    def __init__(self, spec: PiiSpec) -> None:
        """
        Raises:
            ConfigError: a region is none.
        """
        chosen = {kind: row for kind, row in _KINDS.items() if kind in spec.kinds}
        looks = dict.fromkeys([look for look, _ in chosen.values()])
        self._gate = "|".join([*looks, _ESCAPED])
        self._finds = {kind: (re.compile(look), build(spec.regions)) for kind, (look, build) in chosen.items()}
        self._seeks_secrets = "secret" in chosen

    def suspects(self, texts: Sequence[str]) -> Sequence[int]:
        """Indices of the texts that may hold something."""
        try:
            column = pa.array(texts, pa.string())
        except UnicodeEncodeError:
            # Half of a surrogate pair, for which the row will be dropped.
            return range(len(texts))
        found: list[int] = np.flatnonzero(pc.match_substring_regex(column, self._gate)).tolist()
        return found

    def find(self, text: str) -> list[Span]:
        """Everything in a plain text."""
        return apart(
            Span(start, end, kind)
            for kind, (look, find) in self._finds.items()
            if look.search(text)
            for start, end in find(text)
        )

    def assigned(self, text: str) -> Iterator[str]:
        """Secrets that are told by the names that they are given to, which in JSON are other strings."""
        if self._seeks_secrets:
            for start, end in secrets.assigned_secrets(text):
                yield text[start:end]
