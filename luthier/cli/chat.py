"""`luthier chat`: one question to a deployment, the answer as it is generated."""

import sys
from typing import Annotated

import typer

from luthier.cli.output import OutputOption, plain, print_json, printable
from luthier.cli.session import connect


def chat(
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id or name of the deployment.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The question; '-' reads it from stdin.")],
    max_new_tokens: Annotated[int, typer.Option(min=0, help="Longest answer; 0: the deployment's own limit.")] = 0,
    temperature: Annotated[float, typer.Option(min=0.0, help="0: always the likeliest token.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    output: OutputOption = "text",
) -> None:
    """Ask a deployed model."""
    question = sys.stdin.read() if prompt == "-" else prompt
    with connect() as client:
        if output == "json":
            answer = client.chat(
                deployment, question, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
            )
            print_json(plain(answer))
            return
        chunks = client.chat_stream(
            deployment, question, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
        )
        for chunk in chunks:
            typer.echo(printable(chunk.text), nl=False)
            sys.stdout.flush()
        typer.echo()
