"""Made-up texts with and without personal data, and what each holds. No number, address or key is anybody's.

Phone numbers are of the ranges that their countries keep for films and examples, addresses of those of RFC 2606, 3849
and 5737; keys are drawn here, so that nothing in this file looks like one.
"""

import base64
import json
import string
from random import Random

from stdnum import luhn
from stdnum.iso7064 import mod_97_10

Labelled = tuple[str, list[tuple[str, str]]]
"""A text, and kind and value of everything in it, in order."""

_EMAILS = (
    "jane.doe@example.com",
    "j_smith+news@mail.example.org",
    "o'neil@example.net",
    "SALES-TEAM@EXAMPLE.COM",
    "jörg.müller@example.de",
    "a1@x-y.example.co.uk",
    "first.last%dept@sub.dept.example.edu",
    "student99@example.museum",
)
_PHONES = (
    "+1 202-555-0143",
    "+12025550143",
    "(202) 555-0187",
    "202-555-0161",
    "202.555.0119",
    "+44 20 7946 0958",
    "+44 (0)20 7946 0018",
    "+49 30 23125 000",
    "+493023125999",
    "+33 1 99 00 12 34",
    "+61 491 570 156",
    "+46 8 465 004 00",
)
_IPS = ("203.0.113.7", "198.51.100.23", "192.0.2.146", "2001:db8::8a2e:370:7334", "2001:db8:85a3::1")
_URL_CREDENTIALS = ("admin:hunter2", "deploy:p4ss-w0rd!", ":s3cr3t", "root:correct.horse")
_NATIONAL_IDS = (
    "536-90-4399",
    "111.444.777-35",
    "756.9217.0769.85",
    "12345678-Z",
    "X-1234567-L",
    "131052-308T",
    "RSSMRA85T10A562S",
    "85.07.30-033.28",
    "36 574 261 809",
    "295109912611193",
)
_CARDS = (
    "4111 1111 1111 1111",
    "4111111111111111",
    "5555-5555-5555-4444",
    "378282246310005",
    "3782 822463 10005",
    "6011111111111117",
    "3530111333300000",
    "2223003122003222",
)
_CRYPTO = (
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "0x52908400098527886E0F7030069857D2E4169EE7",
)

_TEMPLATES = {
    "email": (
        "Write to {} when the parcel is there.",
        "From: Support <{}>\nSubject: hello",
        "mailto:{}?subject=hi",
        "('{}', 3)",
        "Send it to {}.",
    ),
    "phone": ("Call {} after noon.", "Tel.: {}", "My number is {}, but I am out till 14:30.", "Fax {}; room 12"),
    "ip": (
        "The client {} was refused.",
        '{} - - [22/Nov/2026:10:15:32 +0000] "GET /index.html HTTP/1.1" 200 5316',
        "Connect to {}, please.",
    ),
    "url_credentials": (
        "postgres://{}@db.example.com:5432/shop",
        "Clone https://{}@git.example.com/team/repo.git first.",
        "REDIS_URL=redis://{}@cache:6379/0",
    ),
    "national_id": ("My id is {}, as in the form.", "Applicant no. {}", "Tax number: {}\n"),
    "card": ("Charge {} please.", "Card number {}, valid to 11/29", "Paid with {}."),
    "iban": ("Transfer it to {} today.", "IBAN: {}", "My account is {}, not the other one."),
    "crypto_address": ("Send it to {} now.", "Wallet: {}", "donations ({}) welcome"),
    "secret": ("Use {} for the demo.", "export API_TOKEN={}\nmake deploy", 'client = Client("{}")', "key: {}"),
}

WITHOUT = (
    "Upgrade to version 1.2.3.4 of the driver, or to v10.4.0.12 at least.",
    "Chrome/120.0.6099.109 Safari/537.36, Mozilla/5.0 (X11; Linux x86_64)",
    "pip install package==1.2.3.4 'other>=2.0.1.5'",
    "On 2026-11-22 at 10:15:32.123456 the job began; it ended 2026-11-22T11:02:07+01:00.",
    "The epoch is 1700000000, or 1700000000123 in milliseconds, or 1700000000123456789 in nanoseconds.",
    "Order 4023-8812-0047 and order 100200300400 are late; so is invoice INV-2026-000123.",
    "order 4111111111111112 is not a card, nor is 1234567812345678",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "commit 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12, then d41d8cd98f00b204e9800998ecf8427e",
    "id 123e4567-e89b-12d3-a456-426614174000 of the table",
    "The router has 192.168.1.1, the host 10.0.0.17, and localhost is 127.0.0.1 or ::1.",
    "mask 255.255.255.0, listen on 0.0.0.0:8080",
    "MAC 00:1A:2B:3C:4D:5E at 12:30:45",
    "std::vector<int> values; a::b::c d; dead::beef",
    "The decorator @property and the matrix product a@b; git@github.com:org/repo.git",
    "icon@2x.png and logo@3x.svg are sprites",
    "npm install left-pad@1.3.0 @types/node@20.1.0",
    "user@localhost and root@db are no addresses that reach anyone",
    "Population: 8 336 817; area 357,022 km2; pi is 3.14159265358979",
    "ISBN 978-3-16-148410-0 and ISSN 2049-3630",
    "EAN 4006381333931, part number 12-3456-7890-1",
    "See pages 211-227 (2003), or section 4.2.1.3 of the manual.",
    "Coordinates 52.520008, 13.404954; 40.7128 N 74.0060 W",
    "Scores: 10 20 30 40 50 60 70 80 90 100",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
    "https://example.com/path/to/page?id=12345678&lang=en#top",
    "http://user@example/ and https://example.com:8443/a:b@c",
    "The API key is kept in the vault; ask for a token, then set the password to something long.",
    'api_key = os.environ["API_KEY"]',
    "token: Optional[str] = None, secret = get_secret(name)",
    "password: correcthorsebatterystaple",
    "token = '<your token here>'; API_KEY=xxxxxxxxxxxxxxxxxxxxxxxx",
    "num_tokens=128000, max_token: 4096, tokenizer = AutoTokenizer",
    "DE 12 345 is no account and GB29 NWBK is half of one",
    "FLIGHT LH2034 SEAT 12A GATE B44 BOARDING 0945",
    "AAPL 189.84 +1.2 % volume 48,087,700",
    "0xdeadbeef and 0x7fff5fbff8c0 are pointers",
    "tx 0x5c504ed432cb51138bcf09aa5e8a410dd4a1e204ef84bfed1be16dfba1b22060",
    "color: #52908400; width: 1234567890px",
    "Build 20261122.1234567 passed in 1h 2m 3.456s",
    "row 123-45-678 and 12-345-6789",
    "Use UTC+01:00 or +0100; dial +1 for more",
    "ticket 202-555 and room 0143",
    "[1234567890, 2345678901, 3456789012]",
    '{"id": 20231105123456, "total": 1299, "items": [101, 102]}',
    "eyJ is how base64 of JSON begins",
    "The private key goes between BEGIN and END lines.",
    "serial 5C:93:A2:11 lot 0042-1187-2231",
    "AKIA is a prefix, sk-learn is not a library, and hf_hub is.",
    "SELECT * FROM t WHERE ts BETWEEN 1700000000 AND 1800000000;",
    "line 10:15: error: 404 Not Found (0.0231 s)",
    "the ratio is 1:100000000000",
    "-273.15 degrees, 6.02214076e23 per mole",
    "2001:02:03 is no date, nor is 2024:13:45",
    "XYZ1234567 is a container, ABCD1234567 too",
)
"""Nothing in them is personal."""


_HARD: tuple[Labelled, ...] = (
    ("Reach me at jane.doe (at) example.com tonight.", [("email", "jane.doe (at) example.com")]),
    ("ring 2025550143 tonight", [("phone", "2025550143")]),
    ("from abroad dial 0044 20 7946 0958", [("phone", "0044 20 7946 0958")]),
    ("NI number QQ123456C", [("national_id", "QQ123456C")]),
    ("password: hunter2", [("secret", "hunter2")]),
)
"""Nothing but their meaning tells them from other text."""


def labelled_texts() -> list[Labelled]:
    """Every value in two texts of its kind, some that are hard to tell, and the texts without any."""
    values = {
        "email": _EMAILS,
        "phone": _PHONES,
        "ip": _IPS,
        "url_credentials": _URL_CREDENTIALS,
        "national_id": _NATIONAL_IDS,
        "card": _CARDS + tuple(_drawn_cards(Random(1))),
        "iban": tuple(_drawn_ibans(Random(2))),
        "crypto_address": _CRYPTO,
        "secret": tuple(drawn_secrets(Random(3))),
    }
    texts: list[Labelled] = []
    for kind, own in values.items():
        templates = _TEMPLATES[kind]
        for number, value in enumerate(own):
            for template in (templates[number % len(templates)], templates[(number + 1) % len(templates)]):
                texts.append((template.replace("{}", value), [(kind, value)]))
    return [*texts, *_HARD, *((text, []) for text in WITHOUT)]


def drawn_secrets(random: Random) -> list[str]:
    """Keys as services give them out, drawn."""
    alphanumeric = string.ascii_letters + string.digits

    def draw(length: int, letters: str = alphanumeric) -> str:
        return "".join(random.choices(letters, k=length))

    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": draw(12), "iat": 1700000000})
    )
    return [
        "AKIA" + draw(16, string.ascii_uppercase + "234567"),
        "ghp_" + draw(36),
        "github_pat_" + draw(22) + "_" + draw(59),
        "glpat-" + draw(20),
        "sk-" + draw(48),
        "sk-proj-" + draw(74),
        "sk-ant-api03-" + draw(93),
        "hf_" + draw(34),
        "xoxb-" + draw(12, string.digits) + "-" + draw(24),
        "sk_live_" + draw(24),
        "AIza" + draw(35),
        "SG." + draw(22) + "." + draw(43),
        "npm_" + draw(36),
        "shpat_" + draw(32, "0123456789abcdef"),
        f"{head}.{body}.{draw(43)}",
        "-----BEGIN " + "PRIVATE KEY-----\n" + draw(64) + "\n" + draw(40) + "\n-----END " + "PRIVATE KEY-----",
    ]


def _drawn_cards(random: Random) -> list[str]:
    bodies = [
        prefix + "".join(random.choices(string.digits, k=15 - len(prefix))) for prefix in ("4", "51", "2720", "6011")
    ]
    return [body + luhn.calc_check_digit(body) for body in bodies]


def _drawn_ibans(random: Random) -> list[str]:
    drawn = []
    for country, length in (("DE", 18), ("GB", 18), ("FR", 23), ("NL", 14), ("AT", 16), ("CH", 17)):
        bank = {"GB": "NWBK", "NL": "ABNA"}.get(country, "")
        body = bank + "".join(random.choices(string.digits, k=length - len(bank)))
        iban = country + mod_97_10.calc_check_digits(body + country) + body
        drawn += [iban, " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))]
    return drawn
