"""A chat template of the user's own travels inside the job."""

from pathlib import Path

import pytest

from luthier.errors import InvalidSpecError
from luthier.spec import load_job_file

JOB = "name: a\nbase_model: org/b\ndata: {path: rows.jsonl, chat_template: %s}\n"
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def test_a_file_is_read_where_the_job_file_is(tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    (tmp_path / "job.yaml").write_text(JOB % "chat.jinja")
    assert load_job_file(tmp_path / "job.yaml").data.chat_template == TEMPLATE
    (tmp_path / "job.yaml").write_text(JOB % f'"{TEMPLATE}"')
    assert load_job_file(tmp_path / "job.yaml").data.chat_template == TEMPLATE


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read .*chat.jinja: No such file"), (b"hello", "is no Jinja template"), (b"\xff", "not UTF-8 text")],
)
def test_a_file_that_has_no_template_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "chat.jinja").write_bytes(content)
    (tmp_path / "job.yaml").write_text(JOB % "chat.jinja")
    with pytest.raises(InvalidSpecError, match=message):
        load_job_file(tmp_path / "job.yaml")
