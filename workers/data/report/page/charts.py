"""Small charts as SVG: shapes, axis labels and titles for those who point at a bar or listen."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

_WIDTH, _HEIGHT, _FOOT, _HEAD = 720, 170, 34, 12


def histogram(found: Mapping[str, Any], unit: str, name: str) -> Markup:
    """Bars over the range of a length.

    Args:
        found: `edges`, one more than `counts`, as `numpy.histogram` has them.
        unit: of the lengths.
        name: what is counted, for the title of the picture.
    """
    edges, counts = found["edges"], found["counts"]
    tallest = max(counts, default=0) or 1
    step = _WIDTH / max(1, len(counts))
    bars = []
    for number, count in enumerate(counts):
        height = (_HEIGHT - _FOOT - _HEAD) * count / tallest
        low, high = edges[number], edges[number + 1] - 1
        span = f"{low:,} {unit}" if low == high else f"{low:,} to {high:,} {unit}"
        bars.append(
            Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {:,}</title></rect>').format(
                number * step + 1, _HEIGHT - _FOOT - height, max(1.0, step - 2), height, span, count
            )
        )
    return Markup(
        '<svg class="histogram" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}'
        '<line x1="0" y1="{}" x2="{}" y2="{}"/></svg>'
    ).format(
        _WIDTH,
        _HEIGHT,
        f"{name}: how many have how many {unit}",
        Markup("").join(bars),
        _labels(edges, unit, tallest),
        _HEIGHT - _FOOT,
        _WIDTH,
        _HEIGHT - _FOOT,
    )


def _labels(edges: Sequence[int], unit: str, tallest: int) -> Markup:
    """Five places of the axis, and the height of the tallest bar."""
    places = sorted({round(share * (len(edges) - 1) / 4) for share in range(5)})
    texts = [Markup('<text x="2" y="{}" class="top">{:,}</text>').format(_HEAD - 2, tallest)]
    for place in places:
        x = _WIDTH * place / max(1, len(edges) - 1)
        anchor = "start" if place == 0 else "end" if place == len(edges) - 1 else "middle"
        texts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{:,}</text>').format(
                x, _HEIGHT - _FOOT + 14, anchor, edges[place]
            )
        )
    middle = Markup('<text x="{}" y="{}" text-anchor="middle" class="unit">{}</text>')
    texts.append(middle.format(_WIDTH / 2, _HEIGHT - 3, escape(unit)))
    return Markup("").join(texts)
