"""report.json as a page for people."""

from collections.abc import Sequence
from typing import Any

_TRAINED_OPEN, _TRAINED_CLOSE = "⟦", "⟧"
_TRAINED_ON = {
    "tokens": f"the loss counts what stands between {_TRAINED_OPEN} and {_TRAINED_CLOSE}.",
    "labels": "each is attended to as a whole, and the loss counts its label.",
    "answers": "the answers that are learned are written in training.",
}
"""By what report.json calls it."""


def page(document: dict[str, Any]) -> str:
    """Markdown with tables of sources, splits and dropped rows, warnings, samples and the histogram."""
    parts = [
        "# Data report",
        *(f"> **Note:** {warning}\n" for warning in document["warnings"]),
        f"{document['num_rows_read']} rows read, {document['num_dropped']} dropped, "
        f"{document['num_truncated']} truncated{_augmented(document['num_augmented'])}"
        f"{_windows(document['num_added_windows'])}"
        f"{_repeats(document['num_repeats'])}.",
        "## Sources",
        _table(
            ["file", "split", "type", "format", "rows", "sha256"],
            [
                [s["source"], s["split"], s["file_type"], s["format"], s["num_rows"], f"`{s['sha256'][:12]}`"]
                for s in document["sources"]
            ],
        ),
        *_mixture(document["mixture"], document["trained_on"]),
        *_augmentation(document["augmentation"]),
        "## Splits",
        _splits(document),
        "![Length of the rows in tokens](lengths.svg)",
        *_quality(document["quality"]),
        "## Dropped rows",
        *([_dropped(entry) for entry in document["dropped"]] or ["None."]),
        *_clusters(document["clusters"]),
        "## What is trained on",
        f"The first training rows as the model reads them; {_TRAINED_ON[document['trained_on']]}",
        *(_sample(sample) for sample in document["samples"]),
    ]
    return "\n\n".join(parts) + "\n"


def _clusters(clusters: dict[str, Any] | None) -> list[str]:
    """The largest clusters of near duplicates, with their first rows."""
    if clusters is None:
        return []
    rows = [
        [cluster["cluster"], cluster["size"], row["source"], row["row"], "yes" if row["kept"] else "no", row["excerpt"]]
        for cluster in clusters["first"]
        for row in cluster["rows"]
    ]
    found = f"{clusters['num_rows']} rows in {clusters['num_clusters']} clusters; all of them are in clusters.parquet."
    head = ["cluster", "its rows", "file", "row", "kept", "text"]
    return ["## Near duplicates", found, *([_table(head, rows)] if rows else [])]


def _augmented(num_augmented: int) -> str:
    return f", {num_augmented} training rows made of others or repeated" if num_augmented else ""


def _augmentation(augmentation: dict[str, Any] | None) -> list[str]:
    if augmentation is None:
        return []
    lines = [f"{augmentation['num_added']} training rows added, {augmentation['num_wanted']} wanted."]
    if augmentation["writer"] is not None:
        writer = augmentation["writer"]
        lines.append(f"A model was asked {writer['num_requests']} times, for {writer['num_tokens']} tokens in all.")
    return ["## Added rows", " ".join(lines), *(_dropped(entry) for entry in augmentation["refused"])]


def _windows(num_added: int) -> str:
    return f", {num_added} examples more because long texts were split" if num_added else ""


def _repeats(num_repeats: int) -> str:
    return f", {num_repeats} training rows more because sources are repeated" if num_repeats else ""


def _mixture(mixture: dict[str, Any] | None, trained_on: str) -> list[str]:
    if mixture is None:
        return []
    head = ["source", "drawn with", "read", "dropped", "repeated", "train", "validation", "test", "tokens trained on"]
    # Of rows with a label none is; how many labels there are says the column before.
    num_columns = len(head) - (trained_on == "labels")
    shares = [row[:num_columns] for row in _shares(mixture)]
    strategy = f"Training rows are put together by `{mixture['strategy']}`."
    return ["## Mixture", strategy, _table(head[:num_columns], shares)]


def _quality(quality: dict[str, Any] | None) -> list[str]:
    if quality is None:
        return []
    head = ["part", "value", "weight", "share of"]
    parts = [[part["name"], f"{part['value']:.3f}", part["weight"], part["meaning"]] for part in quality["parts"]]
    score = f"Score {quality['score']} of 100."
    return ["## Quality", score, _table(head, parts), *_by_source(quality), *_classes(quality["labels"])]


def _by_source(quality: dict[str, Any]) -> list[str]:
    """The score of each source with its parts; a part that does not apply to one is a dash."""
    if not quality["sources"]:
        return []
    names = [part["name"] for part in quality["parts"]]
    rows = [
        [source["name"], source["num_read"], source["score"], *(values.get(name, "-") for name in names)]
        for source in quality["sources"]
        for values in [{part["name"]: f"{part['value']:.3f}" for part in source["parts"]}]
    ]
    return ["### Quality by source", _table(["source", "rows read", "score", *names], rows)]


def _classes(labels: dict[str, Any] | None) -> list[str]:
    """Rows of each class, and how they combine classes where a row may have several."""
    if labels is None:
        return []
    rows = [
        [entry["label"], entry["count"], f"{entry['count'] / labels['num_rows']:.1%}"] for entry in labels["classes"]
    ]
    doubt = (
        f"{labels['num_conflicting']} rows have words that other rows have with another label; of "
        f"{labels['num_looked_at']} rows, {labels['num_suspect']} are unlike the rows of their class."
    )
    return ["### Classes", *([_table(["class", "rows", "share"], rows)] if rows else []), *_sets(labels), doubt]


def _sets(labels: dict[str, Any]) -> list[str]:
    sets = labels["sets"]
    if sets is None:
        return []
    found = (
        f"A row is of {sets['cardinality']:.2f} classes on average, {sets['density']:.1%} of all "
        f"{labels['num_classes']}; {sets['num_empty']} of {labels['num_rows']} rows are of none. Sets: "
        f"{sets['num_sets']}, the most frequent ones:"
    )
    rows = [[", ".join(entry["labels"]) or "(none)", entry["count"]] for entry in sets["most_frequent"]]
    return [found, _table(["classes", "rows"], rows)]


def _shares(mixture: dict[str, Any]) -> list[list[object]]:
    return [
        [
            source["name"],
            "-" if source["probability"] is None else f"{source['probability']:.1%}",
            source["num_rows_read"],
            ", ".join(f"{count} {reason}" for reason, count in source["num_dropped"].items()) or "none",
            source["num_repeats"],
            *(source["num_rows"].get(split, 0) for split in ("train", "validation", "test")),
            source["num_trainable_tokens"],
        ]
        for source in mixture["sources"]
    ]


def _splits(document: dict[str, Any]) -> str:
    """Rows, tokens and lengths by split."""
    counts = {
        "rows": "num_rows",
        "tokens": "num_tokens",
        "trained on": "num_trainable_tokens",
        "masked": "num_masked_tokens",
    }
    if document["trained_on"] == "labels":
        counts = {"labelled rows": "num_rows", "tokens attended to": "num_tokens"}
    lengths = {"p50": "p50", "p90": "p90", "p99": "p99", "longest": "max"}
    rows = [
        [
            name,
            *(split[key] for key in counts.values()),
            *(split.get("lengths", {}).get(k, "-") for k in lengths.values()),
        ]
        for name, split in document["splits"].items()
    ]
    return _table(["split", *counts, *lengths], rows)


def _dropped(entry: dict[str, Any]) -> str:
    rows = [[row["source"], row["row"], row["detail"]] for row in entry["rows"]]
    more = entry["count"] - len(rows)
    note = f"\n\n... and {more} more." if more else ""
    return f"### {entry['reason']}: {entry['count']}\n\n" + _table(["file", "row", "detail"], rows) + note


def _sample(sample: dict[str, Any]) -> str:
    part = f", {sample['part']}" if sample["part"] else ""
    view = "".join(
        f"{_TRAINED_OPEN}{segment['text']}{_TRAINED_CLOSE}" if segment["trained"] else segment["text"]
        for segment in sample["segments"]
    )
    return f"{sample['source']}, row {sample['row']}{part}:\n\n" + "\n".join(
        f"    {line}" for line in view.splitlines()
    )


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
