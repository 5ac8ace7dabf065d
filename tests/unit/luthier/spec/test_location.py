import pytest
from pydantic import TypeAdapter

from luthier.errors import InvalidSpecError
from luthier.spec.data.location import DataPath, HubLocation, parse_hub, without_queries, without_query
from luthier.spec.load import parse_spec


@pytest.mark.parametrize(
    "path",
    [
        "rows.jsonl",
        "/data/**/*.jsonl.gz",
        "file:///data/rows.jsonl",
        "s3://bucket/a/*.parquet",
        "gs://bucket/a",
        "https://data.example.com/rows.jsonl?token=x",
        "hf://datasets/org/name",
        "hf://datasets/org/name@refs/convert/parquet/default/train/*.parquet",
    ],
)
def test_paths_and_uris_are_taken(path: str) -> None:
    assert TypeAdapter(DataPath).validate_python(path) == path


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "at least 1 character"),
        ("rows\0.jsonl", "control characters"),
        ("ftp://host/rows.jsonl", "rows cannot be read from ftp://; expected a path or one of file, https"),
        ("zip://rows.jsonl::https://host/a.zip", "rows cannot be read from zip://"),
        ("s3:///rows.jsonl", "names no bucket; expected s3://BUCKET/PATH"),
        ("https:///rows.jsonl", "names no host"),
        ("s3://bucket/a/../b", r"holds '\.\.'"),
        ("https://host/a/%2e%2e/b", r"holds '\.\.'"),
        ("hf://datasets/name", r"not of the form hf://datasets/OWNER/NAME"),
        ("hf://models/org/name", "not of the form"),
        ("hf://datasets/org/name?revision=x", "revision means nothing here"),
        ("hf://datasets/org/name/data?config=x", "config mean nothing beside a path"),
    ],
)
def test_what_the_uri_alone_can_tell_is_refused(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TypeAdapter(DataPath).validate_python(path)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("hf://datasets/o/n", HubLocation("o/n", None, "", None, None)),
        ("hf://datasets/o/n@v1.0?config=c&split=s", HubLocation("o/n", "v1.0", "", "c", "s")),
        ("hf://datasets/o/n@a%2Fb/data/x.csv", HubLocation("o/n", "a/b", "data/x.csv", None, None)),
        ("hf://datasets/o/n@refs/pr/3/x", HubLocation("o/n", "refs/pr/3", "x", None, None)),
    ],
)
def test_parts_of_a_hub_uri(uri: str, expected: HubLocation) -> None:
    assert parse_hub(uri) == expected


@pytest.mark.parametrize("key", ["path", "test_path"])
def test_credentials_in_a_job_file_are_refused_and_not_shown(key: str) -> None:
    data = "path: a.jsonl, " if key != "path" else ""
    with pytest.raises(InvalidSpecError, match=f"data.{key}: names a user or password") as caught:
        parse_spec(f"name: a\nbase_model: b/c\ndata: {{{data}{key}: 's3://AKIA:hidden@bucket/rows.jsonl'}}\n")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("https://host/rows.jsonl?signature=hidden", "https://host/rows.jsonl"),
        ("http://host:80/a?b=https://c?d", "http://host:80/a"),
        ("HTTPS://host/a?hidden", "HTTPS://host/a"),
        (" https://host/a?hidden", " https://host/a"),
        ("htps://host/a?hidden", "htps://host/a"),
        ("https://host/a\n?hid\nden", "https://host/a\n"),
        ("https://host/rows.jsonl", "https://host/rows.jsonl"),
        ("hf://datasets/o/n?split=test", "hf://datasets/o/n?split=test"),
        ("s3://bucket/part-?.jsonl", "s3://bucket/part-?.jsonl"),
        ("/data/what?.jsonl", "/data/what?.jsonl"),
        ("what?://a", "what?://a"),
    ],
)
def test_reports_show_no_query_of_a_web_address(path: str, shown: str) -> None:
    assert without_query(path) == shown


def test_a_section_is_shown_without_any_query_of_its_paths() -> None:
    url, shown = "https://host/a.jsonl?hidden", "https://host/a.jsonl"
    section = {
        "path": [url, "/b.jsonl"],
        "test_path": url,
        "validation_path": None,
        "system_prompt": "https://host/?as-it-is",
        "sources": [{"name": "c", "path": url}],
        "decontaminate": {"paths": [url], "ngram": 13},
    }
    assert without_queries(section) == {
        "path": [shown, "/b.jsonl"],
        "test_path": shown,
        "validation_path": None,
        "system_prompt": "https://host/?as-it-is",
        "sources": [{"name": "c", "path": shown}],
        "decontaminate": {"paths": [shown], "ngram": 13},
    }
    assert section["test_path"] == url


@pytest.mark.parametrize("path", ["https://host/../a?hidden", "HTTPS://host/a?hidden", "https://[a?hidden"])
@pytest.mark.parametrize("key", ["path", "test_path", "decontaminate: {paths: [PATH]}"])
def test_faults_of_a_job_file_show_no_query(path: str, key: str) -> None:
    data = f"{key}: '{path}'" if "PATH" not in key else key.replace("PATH", f"'{path}'")
    if key != "path":
        data = f"path: a.jsonl, {data}"
    with pytest.raises(InvalidSpecError) as caught:
        parse_spec(f"name: a\nbase_model: b/c\ndata: {{{data}}}\n")
    assert "hidden" not in str(caught.value)
