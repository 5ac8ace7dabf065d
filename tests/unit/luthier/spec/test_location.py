import pytest
from pydantic import TypeAdapter

from luthier.errors import InvalidSpecError
from luthier.spec.data.location import DataPath, HubLocation, parse_hub, without_query
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


def test_reports_show_no_query_of_a_web_address() -> None:
    assert without_query("https://host/rows.jsonl?signature=hidden") == "https://host/rows.jsonl"
    assert without_query("hf://datasets/o/n?split=test") == "hf://datasets/o/n?split=test"
    assert without_query("/data/what?.jsonl") == "/data/what?.jsonl"
