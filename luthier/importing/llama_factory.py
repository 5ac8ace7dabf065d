"""`dataset_info.json` of LLaMA-Factory: datasets by name, with where they are and what their columns are called.

As there, an entry with `columns` has no others than those; one without has the columns of Alpaca or of ShareGPT.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.errors import InvalidRequestError
from luthier.importing.imported import Imported, Source, check_keys, hub_uri, named_roles, object_of, refused

_PLACES = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name")
_KEYS = (*_PLACES, "formatting", "ranking", "subset", "split", "folder", "num_samples", "revision", "columns", "tags")
_MEDIA = ("images", "videos", "audios")
_COLUMNS = (
    *("prompt", "query", "response", "history", "messages", "system", "tools", "chosen", "rejected", "kto_tag"),
    *_MEDIA,
)
_TAGS = {
    "user": "user_tag",
    "assistant": "assistant_tag",
    "tool": "observation_tag",
    "function_call": "function_tag",
    "system": "system_tag",
}
_DEFAULTS = {
    "alpaca": {"prompt": "instruction", "query": "input", "response": "output"},
    "sharegpt": {"messages": "conversations"},
}
_LINE_END = (
    "instruction and input are put together with an empty line between them; LLaMA-Factory puts a single line end there"
)


def convert(document: Mapping[str, Any], names: Sequence[str], folder: Path) -> Imported:
    """
    Args:
        document: the whole file.
        names: of the datasets that are wanted; none: the only one.
        folder: of the file, in which paths begin.

    Raises:
        InvalidRequestError: a name is not there or missing, or a dataset cannot be carried over.
    """
    chosen = list(names) or list(document)
    if not names and len(chosen) > 1:
        raise InvalidRequestError(
            f"the file has {len(chosen)} datasets; say with --name which are wanted: {', '.join(sorted(chosen))}"
        )
    missing = [name for name in chosen if name not in document]
    if missing:
        raise InvalidRequestError(f"no dataset {missing[0]!r} in the file; it has {', '.join(sorted(document))}")
    return Imported.of([_source(name, document[name], folder) for name in chosen], {})


def _source(name: str, entry: Mapping[str, Any], folder: Path) -> Source:
    check_keys(entry, _KEYS, name)
    columns = object_of(entry, "columns", name) or dict(_DEFAULTS["alpaca" if _is_alpaca(entry, name) else "sharegpt"])
    check_keys(columns, _COLUMNS, f"{name}: columns")
    if media := [column for column in _MEDIA if columns.get(column)]:
        raise refused(name, f"has {media[0]}", "models of text alone are trained here")
    source = Source(name, {"path": _path(name, entry, folder)})
    read = _alpaca if _is_alpaca(entry, name) else _sharegpt
    read(source, {key: column for key, column in columns.items() if column}, entry)
    if entry.get("num_samples"):
        source.keys["max_samples"] = entry["num_samples"]
    return source


def _is_alpaca(entry: Mapping[str, Any], name: str) -> bool:
    formatting = entry.get("formatting") or "alpaca"
    if formatting not in ("alpaca", "sharegpt", "openai"):
        raise refused(name, f"formatting is {formatting!r}", "rows of alpaca, sharegpt and openai can be")
    return bool(formatting == "alpaca")


def _path(name: str, entry: Mapping[str, Any], folder: Path) -> str:
    if entry.get("hf_hub_url"):
        place = entry.get("folder") or ""
        if place and entry.get("subset"):
            raise refused(name, "has both a folder and a subset", "name the files of the dataset by data.path")
        split = None if place else entry.get("split") or "train"
        return hub_uri(entry["hf_hub_url"], entry.get("revision"), place, entry.get("subset"), split)
    if entry.get("cloud_file_name"):
        return str(entry["cloud_file_name"])
    if not entry.get("file_name"):
        place = next((key for key in _PLACES if entry.get(key)), "no place")
        raise refused(name, f"has {place} alone", "give file_name or hf_hub_url; code of a dataset is never run")
    if entry.get("split", "train") != "train" or entry.get("subset"):
        raise refused(name, "has a split or a subset of a file", "give the file of that split as file_name")
    return str(folder / entry["file_name"])


def _alpaca(source: Source, columns: Mapping[str, str], entry: Mapping[str, Any]) -> None:
    prompt = columns.get("prompt", "instruction")
    if entry.get("ranking") or "kto_tag" in columns:
        if extra := [name for name in ("query", "system", "history") if name in columns]:
            remedy = "join it with the prompt in one column, and leave it out of columns"
            raise refused(source.name, f"rows that say which answers are good have {extra[0]} in a column", remedy)
        _judged(source, columns, entry, {"prompt": prompt})
    elif "response" not in columns:
        source.keys |= {"format": "text", "columns": {"text": prompt}}
        source.objective = "pretrain"
    elif not any(name in columns for name in ("query", "system", "history", "tools")):
        source.keys |= {"format": "prompt_completion"}
        source.keys["columns"] = {"prompt": prompt, "completion": columns["response"], "tools": None}
    elif "tools" in columns:
        raise refused(source.name, "Alpaca rows have tools", "write them as conversations")
    else:
        ours = {"instruction": "prompt", "input": "query", "output": "response", "system": "system"}
        source.keys["format"] = "alpaca"
        source.keys["columns"] = {name: columns.get(theirs) for name, theirs in {**ours, "history": "history"}.items()}
        source.notes += [_LINE_END] if "query" in columns else []


def _sharegpt(source: Source, columns: Mapping[str, str], entry: Mapping[str, Any]) -> None:
    tags = {"role_tag": "from", "content_tag": "value"} | object_of(entry, "tags", source.name)
    check_keys(tags, ("role_tag", "content_tag", *_TAGS.values()), f"{source.name}: tags")
    messages = columns.get("messages", "conversations")
    if entry.get("ranking") or "kto_tag" in columns:
        if "system" in columns:
            remedy = "put it into the conversation as its first message"
            raise refused(source.name, "rows that say which answers are good have system in a column", remedy)
        _judged(source, columns, entry, {"prompt" if entry.get("ranking") else "messages": messages})
    else:
        source.keys["format"] = "sharegpt"
        source.keys["columns"] = {"conversations": messages, "system": columns.get("system")}
    source.keys["columns"]["tools"] = columns.get("tools")
    keys = {"role": tags["role_tag"], "content": tags["content_tag"]}
    if keys not in ({"role": "from", "content": "value"}, {"role": "role", "content": "content"}):
        source.keys["message_keys"] = keys
    if roles := named_roles({role: [tags.get(tag)] for role, tag in _TAGS.items()}):
        source.keys["roles"] = roles


def _judged(source: Source, columns: Mapping[str, str], entry: Mapping[str, Any], asked: Mapping[str, str]) -> None:
    """Pairs of answers, or answers with a label."""
    if entry.get("ranking"):
        said = {"chosen": columns.get("chosen", "chosen"), "rejected": columns.get("rejected", "rejected")}
        source.keys |= {"format": "preference", "columns": {**asked, **said}}
        source.objective = "dpo"
        source.notes.append(
            "pairs of answers are for dpo, ipo, orpo, simpo and reward; objective.type dpo is one of them"
        )
        return
    answer = {"completion": columns.get("response", "output")} if "prompt" in asked else {}
    shape = "labelled_completion" if answer else "labelled_answer"
    source.keys |= {"format": shape, "columns": {**asked, **answer, "label": columns["kto_tag"]}}
    source.objective = "kto"
