"""Writes the generated pages of docs/: the job file, the events, and the state diagram.

`make docs` runs it; `make check` fails when what it writes differs from what is committed.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from coordinator.diagram import mermaid
from luthier.spec import json_schema

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PROTO = ROOT / "proto"


def main() -> None:
    """Writes every generated page."""
    (DOCS / "job-file.md").write_text(job_file_page())
    (DOCS / "job-file.schema.json").write_text(json.dumps(json_schema(), indent=2, sort_keys=True) + "\n")
    (DOCS / "events.md").write_text(events_page())
    architecture = DOCS / "architecture.md"
    architecture.write_text(replace_block(architecture.read_text(), "states", f"```mermaid\n{mermaid().strip()}\n```"))


def job_file_page() -> str:
    """Markdown with one table for every section of the job file."""
    schema = json_schema()
    lines = [
        "# The job file",
        "",
        "<!-- Generated from luthier/spec by docs/generate.py. -->",
        "",
        "One YAML (1.2) or JSON file describes a job. Unknown keys and wrong types are refused before anything is",
        "created. `luthier validate JOB.yaml` checks a file, `luthier schema` prints the JSON Schema for editors",
        "([job-file.schema.json](job-file.schema.json)).",
    ]
    for title, section in _sections(schema):
        lines += ["", f"## {title}", "", section.get("description", ""), ""]
        lines += ["| Key | Type | Default | Meaning |", "|---|---|---|---|"]
        required = section.get("required", [])
        for name, field in section["properties"].items():
            default = "**required**" if name in required else _default(field)
            meaning = str(field.get("description", "")).replace("\n", " ").replace("|", "\\|")
            lines.append(f"| `{name}` | {_type(field)} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _sections(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The root, then every section in the order of the root's keys, each once, with its dotted title."""
    yield "Top level", schema
    waiting = [(name, field) for name, field in schema["properties"].items()]
    seen = set()
    while waiting:
        path, field = waiting.pop(0)
        for name in re.findall(r'"\$ref": "#/\$defs/(\w+)"', json.dumps(field)):
            section = schema["$defs"][name]
            if name not in seen and "properties" in section:
                seen.add(name)
                yield _title(path, field, section), section
                waiting = [(f"{path}.{key}", inner) for key, inner in section["properties"].items()] + waiting


def _title(path: str, field: dict[str, Any], section: dict[str, Any]) -> str:
    """With the key that tells it apart from the other sections that may stand there."""
    key = field.get("discriminator", {}).get("propertyName")
    return f"`{path}` with `{key}: {section['properties'][key]['const']}`" if key else f"`{path}`"


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if (isinstance(value, dict) and value) or (
        "$ref" in json.dumps(field) and value is None and "default" not in field
    ):
        return "see below"
    return "absent" if value is None else f"`{json.dumps(value)}`"


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field or any("$ref" in one for one in field.get("oneOf", ())):
        return "section"
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if choices := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(_type(one) for one in choices if one.get("type") != "null")
    kind = str(field.get("type", "any"))
    if kind == "array":
        return f"list of {_type(field['items'])}"
    if kind == "object":
        return "mapping"
    bounds = [
        f"{sign} {field[key]:.10g}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in field
    ]
    return f"{kind} {', '.join(bounds)}".strip()


def events_page() -> str:
    """Markdown with the envelope, the subjects and every fact of `Event`, from the protos and their comments."""
    files = {file.name: file for file in _descriptors().file}
    event_file = files["luthier/v1/event.proto"]
    comments = _comments(event_file)
    messages = {message.name: (index, message) for index, message in enumerate(event_file.message_type)}
    index, event = messages["Event"]
    lines = [
        "# Events",
        "",
        "<!-- Generated from proto/luthier/v1/event.proto by docs/generate.py. -->",
        "",
        comments[(4, index)],
        "",
        "- Stream `EVENTS`, subject `luthier.event.<entity>.<fact>.<project>.<job>`; payload: one `luthier.v1.Event`.",
        "- Headers: `Nats-Msg-Id`, the CloudEvents 1.0 attributes as `ce-*`, and `traceparent`.",
        "- The same log by gRPC: `EventService.ListEvents` and `SubscribeEvents`; in the shell: `luthier events`.",
        "- Delivery is at least once. `sequence` is dense per project: keep the last one you handled, drop what is not",
        "  larger, and ask for the rest with `after_sequence`.",
        "- The stream is a copy. An event that the broker can never take (larger than its `max_payload`) is not in it",
        "  and becomes a dead letter (`luthier dead-letters list`).",
        "  EventService reads PostgreSQL and has it: a gap in `sequence` tells you to ask there.",
        "",
        "## Envelope",
        "",
        "| Field | Type | Meaning |",
        "|---|---|---|",
    ]
    envelope = [(position, field) for position, field in enumerate(event.field) if not field.HasField("oneof_index")]
    facts = [field for field in event.field if field.HasField("oneof_index")]
    lines += [_field_row(field, comments.get((4, index, 2, position), "")) for position, field in envelope]
    lines += ["", "## Facts", ""]
    for fact in facts:
        name = fact.type_name.rsplit(".", 1)[-1]
        place, message = messages[name]
        entity, _, verb = fact.name.partition("_")
        lines += [
            f"### `{name}`",
            "",
            f"Subject `luthier.event.{entity}.{verb}.<project>.<job>`. {comments[(4, place)]}",
        ]
        lines += ["", *_fields(message, comments, place)] if message.field else [""]
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _fields(message: DescriptorProto, comments: dict[tuple[int, ...], str], place: int) -> list[str]:
    rows = [
        _field_row(field, comments.get((4, place, 2, position), "")) for position, field in enumerate(message.field)
    ]
    return ["| Field | Type | Meaning |", "|---|---|---|", *rows, ""]


def _field_row(field: FieldDescriptorProto, comment: str) -> str:
    kind = (
        field.type_name.rsplit(".", 1)[-1] or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    )
    repeated = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
    return f"| `{field.name}` | {repeated}{kind} | {comment} |"


def _descriptors() -> FileDescriptorSet:
    """All our protos, comments included."""
    protos = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "set.bin"
        options = ["--include_source_info", "--include_imports", f"--descriptor_set_out={output}", f"-I{PROTO}"]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *protos], check=True, cwd=PROTO)  # noqa: S603
        return FileDescriptorSet.FromString(output.read_bytes())


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """Leading comments by descriptor path, on one line each."""
    return {
        tuple(place.path): " ".join(place.leading_comments.split())
        for place in file.source_code_info.location
        if place.leading_comments
    }


def replace_block(text: str, name: str, block: str) -> str:
    """`text` with what stands between the markers `<!-- name -->` and `<!-- /name -->` replaced by `block`.

    Raises:
        ValueError: the markers are missing.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no markers <!-- {name} --> ... <!-- /{name} -->")
    return pattern.sub(lambda match: f"{match[1]}{block}{match[2]}", text)


if __name__ == "__main__":
    main()
