"""`datasets:` of an Axolotl config, and the keys beside it that say how rows become tokens. Other keys are of no matter
here: they are about the model and its training.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from luthier.errors import InvalidRequestError
from luthier.importing.imported import Imported, Source, check_keys, hub_uri, named_roles, object_of, refused

_COMMON = ("path", "type", "name", "split", "data_files", "ds_type", "revision", "trust_remote_code")
_CHAT = (
    *("chat_template", "chat_template_jinja", "field_messages", "field_tools", "field_thinking", "message_field_role"),
    *("message_field_content", "message_property_mappings", "message_field_training", "roles", "roles_to_train"),
    *("train_on_eos", "conversation", "template_thinking_key"),
)
_FILE_TYPES = {"json": "jsonl", "csv": "csv", "parquet": "parquet", "arrow": "arrow"}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_SUFFIX = re.compile(r"\.(jsonl?|ndjson|csv|tsv|parquet|arrow)(\.(gz|zst))?$")
_OVERLONG = {"drop": "drop", "truncate": "truncate", "raise": "raise"}
_OF_PAIRS = ("dpo", "ipo", "orpo", "simpo")
_DEFAULT_TEMPLATES = (None, "tokenizer_default")


def convert(document: Mapping[str, Any], names: Sequence[str]) -> Imported:
    """
    Args:
        document: the whole config.
        names: of the datasets that are wanted, made of their paths, as messages and sources have them; none: all.

    Raises:
        InvalidRequestError: a name is not there, or a dataset cannot be carried over.
    """
    notes: list[str] = []
    sources: list[Source] = []
    for number, entry in enumerate(document["datasets"], start=1):
        if not isinstance(entry, dict):
            raise InvalidRequestError(f"datasets: entry {number} is no object with path and type")
        sources.append(_source(number, entry, document))
    _tell_apart(sources)
    if missing := [name for name in names if name not in {source.name for source in sources}]:
        had = ", ".join(source.name for source in sources)
        raise InvalidRequestError(f"no dataset {missing[0]!r} in the file; it has {had}")
    chosen = [source for source in sources if not names or source.name in names]
    return Imported.of(chosen, _settings(document, notes), notes)


def _source(number: int, entry: Mapping[str, Any], document: Mapping[str, Any]) -> Source:
    path = str(entry.get("path") or "")
    where = f"datasets: entry {number} ({path or 'without a path'})"
    type_ = entry.get("type") or "chat_template"
    if not isinstance(type_, str) or type_.split(":")[0] not in _TYPES:
        remedy = f"datasets of type {', '.join(_TYPES)} can be"
        raise refused(where, f"is of type {type_ if isinstance(type_, str) else 'a user defined prompt'}", remedy)
    known, read = _TYPES[type_.split(":")[0]]
    check_keys(entry, (*_COMMON, *known), where)
    if entry.get("trust_remote_code"):
        raise refused(where, "wants to run code of others", "give the files of the dataset")
    source = Source(re.sub(r"[^A-Za-z0-9_-]+", "-", path.strip("./").split("/")[-1])[:60] or f"dataset-{number}")
    source.keys |= _place(entry, path, where)
    read(source, entry, where)
    if source.objective == "dpo" and document.get("rl") in _OF_PAIRS:
        source.objective = document["rl"]
    if document.get("rl") and source.objective is None:
        raise refused(where, f"is a dataset for rl: {document['rl']}", "type chat_template.default can be for pairs")
    return source


def _place(entry: Mapping[str, Any], path: str, where: str) -> dict[str, Any]:
    files = entry.get("data_files") or []
    files = [files] if isinstance(files, str) else list(files)
    split = entry.get("split")
    if "[" in str(split or ""):
        raise refused(where, f"takes the part {split} of a split", "say how many rows by max_samples of its source")
    type_ = _FILE_TYPES.get(entry.get("ds_type") or (path if files else ""))
    keys = {"file_type": type_} if type_ else {}
    if not files:
        is_on_hub = _is_on_hub(path)
        return {
            "path": hub_uri(path, entry.get("revision"), "", entry.get("name"), split) if is_on_hub else path,
            **keys,
        }
    places = [_file(path, file, entry) for file in files]
    return {"path": places[0] if len(places) == 1 else places, **keys}


def _file(path: str, file: str, entry: Mapping[str, Any]) -> str:
    """The place of one of the data_files of `path`."""
    if path in _FILE_TYPES:
        return file
    return hub_uri(path, entry.get("revision"), file, None, None) if _is_on_hub(path) else f"{path.rstrip('/')}/{file}"


def _is_on_hub(path: str) -> bool:
    is_local = path.startswith((".", "/", "~")) or "://" in path or _FILE_SUFFIX.search(path)
    return not is_local and _HUB_NAME.fullmatch(path) is not None


def _alpaca(source: Source, entry: Mapping[str, Any], where: str) -> None:
    source.keys["format"] = "alpaca"
    source.notes.append("Alpaca rows are written in the model's chat template, not in Alpaca's prompt of plain text")


def _completion(source: Source, entry: Mapping[str, Any], where: str) -> None:
    source.keys["format"] = "text"
    if entry.get("field", "text") != "text":
        source.keys["columns"] = {"text": entry["field"]}
    source.keys["overlong"] = "split"
    source.objective = "pretrain"


def _segments(source: Source, entry: Mapping[str, Any], where: str) -> None:
    source.keys["format"] = "segments"


def _stepwise(source: Source, entry: Mapping[str, Any], where: str) -> None:
    if entry.get("step_separator", "\n") != "\n":
        raise refused(where, "has a step_separator", "steps are one per line here")
    source.keys["format"] = "stepwise"
    source.notes.append("of solutions step by step only whole right ones are learned, or each as good or bad with kto")


def _sharegpt(source: Source, entry: Mapping[str, Any], where: str) -> None:
    source.keys["format"] = "sharegpt"
    _conversation(source, {"field_messages": "conversations", **entry}, where, "conversations")


def _chat(source: Source, entry: Mapping[str, Any], where: str) -> None:
    source.keys["format"] = "chat"
    _conversation(source, entry, where, "messages")


def _pair(source: Source, entry: Mapping[str, Any], where: str) -> None:
    source.keys["format"] = "preference"
    source.objective = "dpo"
    _conversation(source, entry, where, "prompt")
    columns = {"chosen": entry.get("field_chosen", "chosen"), "rejected": entry.get("field_rejected", "rejected")}
    source.keys["columns"] = {"prompt": entry.get("field_messages", "messages")} | {
        ours: theirs for ours, theirs in columns.items() if ours != theirs
    }


def _conversation(source: Source, entry: Mapping[str, Any], where: str, column: str) -> None:
    _check_training(entry, where)
    columns = {column: entry.get("field_messages", column), "tools": entry.get("field_tools", "tools")}
    if renamed := {ours: theirs for ours, theirs in columns.items() if ours != theirs}:
        source.keys["columns"] = renamed
    keys = {
        "role": entry.get("message_field_role"),
        "content": entry.get("message_field_content"),
        "reasoning_content": entry.get("field_thinking"),
        "train": entry.get("message_field_training"),
    } | object_of(entry, "message_property_mappings", where)
    check_keys(keys, ("role", "content", "reasoning_content", "train", "tool_calls", "name", "tool_call_id"), where)
    if told := {ours: theirs for ours, theirs in keys.items() if theirs and theirs != ours}:
        source.keys["message_keys"] = told
    given = object_of(entry, "roles", where)
    check_keys(given, ("system", "user", "assistant", "tool"), f"{where}: roles")
    if roles := named_roles(given):
        source.keys["roles"] = roles
    _tell_template(source, entry.get("chat_template"), entry.get("chat_template_jinja"), where)


def _check_training(entry: Mapping[str, Any], where: str) -> None:
    assistants = {"assistant", "gpt", "model", *(object_of(entry, "roles", where).get("assistant") or [])}
    if not set(entry.get("roles_to_train") or ["assistant"]) <= assistants:
        raise refused(where, f"trains on {', '.join(entry['roles_to_train'])}", "answers of the assistant alone are")
    if entry.get("train_on_eos") not in (None, "turn"):
        raise refused(where, f"has train_on_eos: {entry['train_on_eos']}", "every answer is trained on with its end")


def _tell_template(source: Source, name: str | None, jinja: str | None, where: str) -> None:
    if jinja:
        raise refused(
            where, "has a chat_template_jinja of its own", "give data.chat_template, which holds for all rows"
        )
    if name not in _DEFAULT_TEMPLATES and not str(name).startswith("tokenizer_default_fallback"):
        source.notes.append(
            f"chat_template {name} is not carried over: the model's own is used, unless you give its "
            "Jinja text as data.chat_template"
        )


_TYPES: dict[str, tuple[Sequence[str], Callable[[Source, Mapping[str, Any], str], None]]] = {
    "chat_template": (_CHAT, _chat),
    "sharegpt": (_CHAT, _sharegpt),
    "alpaca": ((), _alpaca),
    "completion": (("field",), _completion),
    "input_output": ((), _segments),
    "stepwise_supervised": (("step_separator",), _stepwise),
    "chat_template.default": ((*_CHAT, "field_chosen", "field_rejected"), _pair),
}


def _settings(document: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Keys of `data` that are said for all datasets."""
    settings: dict[str, Any] = {}
    if length := document.get("sequence_len"):
        settings["max_length"] = length
    if strategy := document.get("excess_length_strategy"):
        if strategy not in _OVERLONG:
            raise refused("excess_length_strategy", f"it is {strategy}", "take drop, truncate or raise")
        settings["overlong"] = _OVERLONG[strategy]
    size = document.get("val_set_size") or 0
    if size >= 1:
        notes.append(f"val_set_size {size} is a number of rows: say by data.validation_fraction which part that is")
    elif size:
        settings["validation_fraction"] = size
    if document.get("test_datasets"):
        notes.append("test_datasets are not carried over: give their path as validation_path or test_path")
    if document.get("train_on_inputs"):
        raise refused("train_on_inputs", "prompts are trained on", "objective.type pretrain learns every token")
    if jinja := document.get("chat_template_jinja"):
        settings["chat_template"] = jinja
    elif (name := document.get("chat_template")) not in _DEFAULT_TEMPLATES:
        notes.append(
            f"chat_template {name} is not carried over: the model's own is used, unless you give its Jinja "
            "text as data.chat_template"
        )
    return settings


def _tell_apart(sources: Sequence[Source]) -> None:
    """Gives those that have one name a number each."""
    names = [source.name for source in sources]
    for number, source in enumerate(sources, start=1):
        if names.count(source.name) > 1:
            source.name = f"{source.name}-{number}"
