"""`added_tokens` of the methods that can learn what a new token means."""

from typing import Annotated

from pydantic import AfterValidator, Field


def _are_tokens(tokens: list[str]) -> list[str]:
    """
    Raises:
        ValueError: they cannot be told apart in a text.
    """
    blank = [token for token in tokens if not token.strip()]
    if blank:
        raise ValueError(f"{blank[0]!r} is blank; a token is a text of its own, such as '<ticket>'")
    repeated = sorted({token for token in tokens if tokens.count(token) > 1})
    if repeated:
        raise ValueError(f"{repeated[0]!r} is there twice; name each token once")
    return tokens


AddedTokens = Annotated[list[str], AfterValidator(_are_tokens), Field(max_length=1024)]
