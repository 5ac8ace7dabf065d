"""`data.engine`: what runs the plans that read and tokenise rows."""

from typing import Literal

Engine = Literal["local", "ray"]
