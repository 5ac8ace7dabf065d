"""`luthier chat`: one question to a deployment, or a whole conversation; the answer as it is generated."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli.output import OutputOption, plain, print_json, printable
from luthier.cli.session import connect
from luthier.errors import InvalidRequestError


def chat(
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id or name of the deployment.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The question; '-' reads it from stdin.")] = "",
    messages: Annotated[
        Path | None, typer.Option(help="JSON file with a conversation, in place of PROMPT: a list of messages.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=0, help="Longest answer; 0: the deployment's own limit.")] = 0,
    temperature: Annotated[float, typer.Option(min=0.0, help="0: always the likeliest token.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    tools: Annotated[Path | None, typer.Option(help="JSON file with the functions that the model may call.")] = None,
    tool_choice: Annotated[str, typer.Option(help="auto, or none: the model is not told of the tools.")] = "auto",
    output: OutputOption = "text",
) -> None:
    """Ask a deployed model. Calls of tools are printed as JSON, one a line, after the text."""
    question = _question(prompt, messages)
    options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    options |= {"tools": _list_in(tools, "--tools") if tools else (), "tool_choice": tool_choice}
    with connect() as client:
        if output == "json":
            print_json(plain(client.chat(deployment, question, **options)))
            return
        calls: list[dict[str, Any]] = []
        for chunk in client.chat_stream(deployment, question, **options):
            typer.echo(printable(chunk.text), nl=False)
            sys.stdout.flush()
            calls = plain(chunk.tool_calls)
        typer.echo()
        for call in calls:
            typer.echo(printable(json.dumps(call, ensure_ascii=False)))


def _question(prompt: str, messages: Path | None) -> str | list[Any]:
    if (messages is None) != bool(prompt):
        raise InvalidRequestError("give either PROMPT or --messages FILE")
    if messages is not None:
        return _list_in(messages, "--messages")
    return sys.stdin.read() if prompt == "-" else prompt


def _list_in(path: Path, option: str) -> list[Any]:
    """The JSON list in a file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequestError(f"{option} {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{option} {path} is not JSON: {error}") from error
    if not isinstance(document, list):
        raise InvalidRequestError(f"{option} {path} must hold a JSON list")
    return document
