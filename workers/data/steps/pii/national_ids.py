"""National ids of people, told by how they are written and by their check digits. A new one is one row in `_FORMS`."""

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import NamedTuple

from workers.data.steps.pii.spans import START, Find

NATIONAL_ID_GATE = r"[XYZ]-?\d{7}|[A-Z]{4}\d{6}[HM]|[A-Z]{6}\d\d[A-Z]\d\d|\d{6}[-+A-FU-Y/]\d{3}|\d{3}-\d\d-\d{4}"


class _Form(NamedTuple):
    """How an id is written."""

    region: str
    pattern: str
    module: str
    """Of python-stdnum, which checks it."""
    needs_region: bool = False
    """Whether other numbers often look like it, so that it is looked for only where the job names the country."""


_FORMS = (
    _Form("AU", r"\d{3} \d{3} \d{3}", "au.tfn", True),
    _Form("BE", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", "be.nn"),
    _Form("BR", r"\d{3}\.\d{3}\.\d{3}-\d{2}", "br.cpf"),
    _Form("CH", r"756\.\d{4}\.\d{4}\.\d{2}", "ch.ssn"),
    _Form("CN", r"\d{17}[\dX]", "cn.ric"),
    _Form("CZ", r"\d{6}/\d{3,4}", "cz.rc"),
    _Form("DE", r"\d{2} \d{3} \d{3} \d{3}", "de.idnr"),
    _Form("DK", r"\d{6}-\d{4}", "dk.cpr", True),
    _Form("ES", r"\d{8}-?[A-HJ-NP-TV-Z]", "es.dni"),
    _Form("ES", r"[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z]", "es.nie"),
    _Form("FI", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", "fi.hetu"),
    _Form("FR", r"[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}", "fr.nir"),
    _Form("GB", r"\d{3} \d{3} \d{4}", "gb.nhs", True),
    _Form("IN", r"[2-9]\d{3} \d{4} \d{4}", "in_.aadhaar"),
    _Form("IT", r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", "it.codicefiscale"),
    _Form("KR", r"\d{6}-\d{7}", "kr.rrn"),
    _Form("MX", r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d", "mx.curp"),
    _Form("NL", r"\d{9}", "nl.bsn", True),
    _Form("PL", r"\d{11}", "pl.pesel", True),
    _Form("RO", r"\d{13}", "ro.cnp", True),
    _Form("SE", r"\d{6}[-+]\d{4}", "se.personnummer", True),
    _Form("TR", r"\d{11}", "tr.tckimlik", True),
    _Form("US", r"\d{3}-\d{2}-\d{4}", "us.ssn"),
    _Form("ZA", r"\d{13}", "za.idnr", True),
)


def national_ids(regions: Sequence[str]) -> Find:
    """Ids of all countries whose form is their own, and of `regions` where it is not."""
    forms = [form for form in _FORMS if not form.needs_region or form.region in regions]
    patterns = [re.compile(rf"{START}{form.pattern}(?!\w|[-./]\d)") for form in forms]
    checks = [import_module(f"stdnum.{form.module}").is_valid for form in forms]

    any_form = re.compile(f"{START}(?:{'|'.join(form.pattern for form in forms)})")

    def find(text: str) -> Iterator[tuple[int, int]]:
        if not any_form.search(text):
            return
        for pattern, is_valid in zip(patterns, checks, strict=True):
            for match in pattern.finditer(text):
                if is_valid(match[0]):
                    yield match.span()

    return find
