"""`data.chat_template`: a chat template of the user's own, in place of the base model's."""

from pathlib import Path

from luthier.errors import InvalidSpecError

_MAX_BYTES = 1 << 18


def is_template(text: str) -> bool:
    """Whether it is the text of a Jinja template and not the path of one."""
    return "{{" in text or "{%" in text


def template_text(template: str, folder: Path) -> str:
    """The text of a template that is given as text or as a path, relative to `folder`.

    So a job carries its template with it, and no worker has to find the file.

    Raises:
        InvalidSpecError: there is no such file, or no template in it.
    """
    if is_template(template):
        return template
    path = folder / Path(template).expanduser()
    try:
        text = path.read_bytes()[: _MAX_BYTES + 1].decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidSpecError(
            f"data.chat_template: cannot read {path}: {reason}; give the text of a Jinja template or the path of one"
        ) from error
    if len(text) > _MAX_BYTES or not is_template(text):
        raise InvalidSpecError(f"data.chat_template: {path} is no Jinja template of at most {_MAX_BYTES >> 10} KiB")
    return text
