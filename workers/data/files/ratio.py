"""How far a compressed file may unpack before it is taken for one that is made to fill a machine.

There is no setting: whoever means such a file gives it unpacked. Every file is unpacked once, and nothing of it kept,
before the first of its rows is read: counting bytes costs a fraction of reading rows.
"""

MAX_RATIO = 250
"""Over twice what the dullest honest rows reach: `test_ratio.py` packs several kinds, from logs to tables of empty
cells, and prints how far. DEFLATE itself ends at 1032: 258 bytes from two bits (RFC 1951, 3.2.5)."""
FREE_BYTES = 1 << 26
"""Up to so many bytes the ratio says nothing."""


def why_too_much(num_packed: int, num_bytes: int) -> str | None:
    """What is wrong with `num_packed` bytes that unpack to `num_bytes` or more; None: nothing."""
    if num_bytes <= max(FREE_BYTES, MAX_RATIO * num_packed):
        return None
    return (
        f"{num_packed} bytes unpack to more than {num_bytes >> 20} MiB, over {MAX_RATIO} times as much, so they were "
        f"not unpacked any further; unpack the file yourself (a table: into JSON Lines) if that is as it should be"
    )
