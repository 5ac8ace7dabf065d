"""What the pages of a Parquet file unpack to is known before one of them is unpacked, whatever its footer says."""

import random

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from workers.data.files import FILES
from workers.data.files.parquet_sizes import groups, pages
from workers.failures import DataError

MIB = 1 << 20
TABLE = pa.Table.from_pylist(
    [
        {
            "prompt": f"question {number}",
            "label": "abc"[number % 3],
            "messages": [{"role": "user", "weight": number}],
            "none": None,
        }
        for number in range(5000)
    ]
)
FORMS = {
    "as it comes": {},
    "zstd": {"compression": "zstd"},
    "stored": {"compression": "none", "use_dictionary": False},
    "version 2": {"data_page_version": "2.0"},
    "small pages": {"data_page_size": 100, "write_batch_size": 50},
    "with an index": {"write_page_index": True, "write_page_checksum": True},
    "row groups": {"row_group_size": 700},
}


def _varint(number):
    """Zigzag, as Thrift's compact protocol writes a whole number."""
    number, out = 2 * number, bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _lying(path, size):
    """A page of so many bytes, of which the footer says that it has one."""
    table = pa.table({"text": pa.array([bytes(MIB)] * (size >> 20), pa.binary())})
    options = {"compression": "zstd", "use_dictionary": False, "data_page_size": 1 << 30}
    pq.write_table(table, path, **options)
    column = pq.read_metadata(path).row_group(0).column(0)
    raw, honest = path.read_bytes(), _varint(column.total_uncompressed_size)
    one = bytes([2 | 128, *[128] * (len(honest) - 2), 0])
    assert raw.count(honest) == 2
    path.write_bytes(raw.replace(honest, one))
    assert pq.read_metadata(path).row_group(0).total_byte_size == 1
    return path


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_sizes_are_those_that_an_honest_footer_says(tmp_path, options):
    path = tmp_path / "rows.parquet"
    pq.write_table(TABLE, path, **options)
    metadata = pq.read_metadata(path)
    of_arrow = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(number) for group in of_arrow for number in range(group.num_columns)]
    assert [group.num_rows for group in groups(str(path))] == [group.num_rows for group in of_arrow]
    assert [(chunk.num_packed, chunk.num_unpacked) for group in groups(str(path)) for chunk in group.chunks] == [
        (chunk.total_compressed_size, chunk.total_uncompressed_size) for chunk in chunks
    ]
    sizes = [page for group in groups(str(path)) for chunk in group.chunks for page in pages(str(path), chunk)]
    most_of_header = 100
    for said, of_pages in (
        (sum(chunk.total_uncompressed_size for chunk in chunks), sum(size.unpacked for size in sizes)),
        (sum(chunk.total_compressed_size for chunk in chunks), sum(size.packed for size in sizes)),
    ):
        assert 0 < said - of_pages < most_of_header * len(sizes)
    assert FILES["parquet"].columns(str(path)) == TABLE.column_names


def test_footer_that_lies_about_a_page_does_not_have_it_unpacked(tmp_path):
    path = _lying(tmp_path / "rows.parquet", 100 * MIB)
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(DataError, match=r"unpack to more than 100 MiB, over 250 times as much"):
        FILES["parquet"].columns(str(path))
    assert pa.default_memory_pool().max_memory() - before < 16 * MIB


def test_page_that_unpacks_to_more_than_memory_should_give(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.data.files.parquet.MAX_PAGE_BYTES", MIB)
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": [random.Random(1).randbytes(MIB).hex()]}), path, compression="gzip")
    with pytest.raises(DataError, match=r"a page of \d+ bytes unpacks to 2 MiB in memory, over 1; write the file with"):
        FILES["parquet"].columns(str(path))


def test_parquet_with_any_wrong_bytes_is_refused_or_read(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(TABLE.slice(0, 50), path, compression="zstd")
    whole, draw = path.read_bytes(), random.Random(5)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3])):
            damaged[draw.randrange(4, len(whole))] = draw.choice([0, 128, 255, draw.randrange(256)])
        path.write_bytes(damaged)
        try:
            names = FILES["parquet"].columns(str(path))
        except DataError:
            continue
        for record in FILES["parquet"].records(str(path), names):
            assert record.json_text is not None or record.reason
