"""The C++ client inside pyarrow: everything multipart, everything with a trailing CRC-64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from tests.s3.conftest import Served


def test_a_table_goes_out_and_comes_back(served: Served) -> None:
    s3 = pafs.S3FileSystem(
        access_key=served.key,
        secret_key=served.secret,
        endpoint_override=f"127.0.0.1:{served.port}",
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
        allow_bucket_deletion=True,
    )
    table = pa.table({"a": list(range(300_000)), "b": ["x"] * 300_000})
    s3.create_dir("arrow-lake")
    s3.create_dir("arrow-lake/t/day=1")
    pq.write_table(table, "arrow-lake/t/day=1/part.parquet", filesystem=s3)
    assert pq.read_table("arrow-lake/t/day=1/part.parquet", filesystem=s3).equals(table)
    found = s3.get_file_info(pafs.FileSelector("arrow-lake", recursive=True))
    assert [one.path for one in found if one.type == pafs.FileType.File] == [
        "arrow-lake/t/day=1/part.parquet"
    ]

    with s3.open_output_stream("arrow-lake/big") as stream:
        for _ in range(12):
            stream.write(bytes(1 << 20))
    s3.move("arrow-lake/big", "arrow-lake/moved")
    assert served.files.read_bytes("arrow-lake", "moved") == bytes(12 << 20)
    assert not served.files.exists("arrow-lake", "big")

    s3.delete_dir("arrow-lake/t")
    assert [entry.key for entry in served.files.list("arrow-lake").entries] == ["moved"]
    s3.delete_dir("arrow-lake")
    assert "arrow-lake" not in served.files.buckets()
