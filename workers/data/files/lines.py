"""Lines out of blocks, as an editor counts them: they end with LF, CRLF or CR, whatever the others end with."""

from collections.abc import Iterable, Iterator

from workers.data.files.record import MAX_RECORD_BYTES


def split_lines(blocks: Iterable[bytes], max_bytes: int = MAX_RECORD_BYTES) -> Iterator[bytes | None]:
    """Every line with its end; None in place of one that is longer than about `max_bytes`, which is never held."""
    held: list[bytes] = []
    num_held = 0
    too_long = False
    for block in blocks:
        if b"\n" not in block and b"\r" not in block and not (held and held[-1].endswith(b"\r")):
            num_held += len(block)
            too_long = too_long or num_held > max_bytes
            held = [] if too_long else [*held, block]
            continue
        first, *others = b"".join([*held, block]).splitlines(keepends=True)
        # What does not end with LF may go on in the next block, a CR perhaps with its LF.
        last = (others or [first])[-1]
        last = b"" if last.endswith(b"\n") else last
        complete = [first, *others][: -1 if last else None]
        if complete:
            yield None if too_long or len(complete[0]) > max_bytes else complete[0]
            yield from complete[1:]
            too_long = False
        held, num_held = [last], len(last)
    rest = b"".join(held).splitlines(keepends=True)
    if too_long:
        yield None
        rest = rest[1:]
    yield from rest
