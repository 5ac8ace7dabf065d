"""API keys, tokens, private keys, and addresses of cryptocurrencies.

Keys of well-known services are told by their prefixes; other ones by the name that they are given to
(`api_key = ...`) and by how random they look.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator

from stdnum import bitcoin

from workers.data.steps.pii.spans import START

_PREFIXED = (
    r"(?:AKIA|ASIA)[A-Z2-7]{16}(?!\w)",  # Amazon
    r"gh[pousr]_[A-Za-z0-9]{36,251}",  # GitHub
    r"github_pat_[A-Za-z0-9_]{60,100}",
    r"gl(?:pat|ptt|dt|rt)-[\w-]{20,64}",  # GitLab
    r"sk-ant-[\w-]{20,120}",  # Anthropic
    r"sk-(?:proj|svcacct|admin)-[\w-]{20,200}",  # OpenAI
    r"sk-[A-Za-z0-9]{32,64}(?!\w)",
    r"hf_[A-Za-z0-9]{30,40}",  # Hugging Face
    r"xox[abeprs]-[A-Za-z0-9-]{10,200}",  # Slack
    r"https://hooks\.slack\.com/services/T\w{6,12}/B\w{6,12}/\w{20,30}",
    r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,100}",  # Stripe
    r"AIza[\w-]{35}",  # Google
    r"ya29\.[\w-]{20,200}",
    r"SG\.[\w-]{16,32}\.[\w-]{16,64}",  # SendGrid
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-AgE[\w-]{50,250}",
    r"dop_v1_[0-9a-f]{64}",  # DigitalOcean
    r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",  # Shopify
    r"\d{8,10}:AA[\w-]{33}",  # Telegram
    r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}",  # JWT (RFC 7519)
)
_KEY = re.compile(rf"{START}(?:{'|'.join(_PREFIXED)})")
_PEM = re.compile(
    r"-----BEGIN (?P<label>[A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?)-----.{1,16384}?-----END (?P=label)-----", re.DOTALL
)
_ASSIGNED = re.compile(
    r"(?i)(?:api[_-]?key|access[_-]?key|secret(?:[_-]?key)?|token|passw(?:or)?d|passphrase|account[_-]?key)"
    r"""["'`]?\s{0,3}(?::=|=>|[:=])\s{0,3}["'`]?(?P<value>[A-Za-z0-9+/_=.~!@#%^*-]{12,512})"""
)
_LEAST_BITS = 3.0
"""Entropy of a character, from its frequencies; words and `xxxxxxxx` have less."""

KEY_GATE = (
    r"AKIA|ASIA|gh[pousr]_|github_pat_|gl(?:pat|ptt|dt|rt)-|sk-|hf_|xox[abeprs]-|hooks\.slack|[sr]k_(?:live|test)_|AIza|"
    r"ya29\.|SG\.|npm_|pypi-AgE|dop_v1_|shp(?:at|ca|pa|ss)_|:AA|eyJ|PRIVATE KEY|"
    r"(?i:key|secret|token|passwo?r?d|passphrase)[\"'`]?\s{0,3}[:=]"
)

CRYPTO_GATE = r"bc1[a-z0-9]{25}|[13][1-9A-HJ-NP-Za-km-z]{25}|0x[0-9A-Fa-f]{40}"
_BITCOIN = re.compile(START + r"(?:bc1[a-z0-9]{25,59}|[13][1-9A-HJ-NP-Za-km-z]{25,34})(?!\w)")
_ETHEREUM = re.compile(START + r"0x[0-9A-Fa-f]{40}(?!\w)")


def secrets(text: str) -> Iterator[tuple[int, int]]:
    """Private keys, keys with a known prefix, and random values that are given to a name of a secret."""
    for pattern in (_PEM, _KEY):
        for match in pattern.finditer(text):
            yield match.span()
    yield from assigned_secrets(text)


def assigned_secrets(text: str) -> Iterator[tuple[int, int]]:
    """Values only, so that what they are given to stays."""
    for match in _ASSIGNED.finditer(text):
        value = match["value"].rstrip(".!")
        if _looks_random(value):
            yield match.start("value"), match.start("value") + len(value)


def crypto_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Bitcoin by check sum (base58, BIP 173), Ethereum by form."""
    for match in _BITCOIN.finditer(text):
        if bitcoin.is_valid(match[0]):
            yield match.span()
    for match in _ETHEREUM.finditer(text):
        yield match.span()


def _looks_random(value: str) -> bool:
    has_both = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    counts = Counter(value).values()
    bits = -sum(count / len(value) * math.log2(count / len(value)) for count in counts)
    return has_both and bits >= _LEAST_BITS
