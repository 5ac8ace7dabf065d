"""Tables on disk: written in pieces of bounded size, streamed once more (`scratch.py`) or mapped (`mapped.py`)."""
