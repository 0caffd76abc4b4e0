"""AWS's own tools in a block: they reach the server with nothing set, with the session's own key,
and only as long as the session lives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.e2e.conftest import Server, User, started, wait_for
from tests.folders import modes_in

#: Many heavy imports, in two sessions.
pytestmark = [pytest.mark.spark, pytest.mark.timeout(400)]

#: What the server itself was started with, as on a machine of AWS's.
SERVERS = {
    "AWS_ACCESS_KEY_ID": "AKIAOFTHESERVER00000",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-server",
    "AWS_SESSION_TOKEN": "token-of-the-server",
    "AWS_PROFILE": "profile-of-the-server",
    "AWS_ENDPOINT_URL": "http://endpoint-of-the-server.invalid",
}
#: Spark reads it when it starts, so no driver that waits fits.
COLD = {"SparkProperties": {"spark.default.parallelism": "3"}}

BOTO3 = """
import boto3
s3, athena = boto3.client('s3'), boto3.client('athena')
s3.put_object(Bucket='sparkowl-results', Key='inside/boto3', Body=b'from a block')
made = s3.get_object(Bucket='sparkowl-results', Key='inside/boto3')
found['boto3'] = made['Body'].read().decode()
found['state'] = athena.get_session_status(SessionId=session)['Status']['State']
"""
SPARK = """
spark.range(3).coalesce(1).write.mode('overwrite').parquet('s3://sparkowl-results/inside/spark')
"""
PANDAS = """
import pandas, pyarrow.parquet
uri = 's3://sparkowl-results/inside/pandas.parquet'
pandas.DataFrame({'a': [1, 2, 3]}).to_parquet(uri)
found['pandas'] = pandas.read_parquet(uri)['a'].tolist()
found['both'] = sorted(pandas.read_parquet('s3://sparkowl-results/inside/spark')['id'].tolist())
found['parquet'] = pyarrow.parquet.read_table(uri).num_rows
"""
ARROW = """
import os, pyarrow.fs
arrow, path = pyarrow.fs.FileSystem.from_uri('s3://sparkowl-results/inside/arrow')
with arrow.open_output_stream(path) as out:
    out.write(b'arrow')
direct = pyarrow.fs.S3FileSystem(endpoint_override=os.environ['AWS_ENDPOINT_URL_S3'])
found['arrow'] = direct.open_input_file('sparkowl-results/inside/arrow').read().decode()
"""
OBSTORE = """
import obstore
from obstore.auth.boto3 import Boto3CredentialProvider
store = obstore.store.S3Store('sparkowl-results', credential_provider=Boto3CredentialProvider())
obstore.put(store, 'inside/obstore', b'obstore')
found['obstore'] = bytes(obstore.get(store, 'inside/obstore').bytes()).decode()
"""
WRANGLER = """
import awswrangler
uri = 's3://sparkowl-results/inside/wrangler.parquet'
awswrangler.s3.to_parquet(pandas.DataFrame({'a': [7]}), uri)
found['wrangler'] = awswrangler.s3.read_parquet(uri)['a'].tolist()
"""
COMMAND = """
import subprocess, sys
aws = os.path.join(os.path.dirname(sys.executable), 'aws')
listed = subprocess.run([aws, 's3', 'ls', 's3://sparkowl-results/inside/'], capture_output=True,
                        text=True)
found['command'] = [line.split()[-1] for line in listed.stdout.splitlines()], listed.stderr
"""
KEY = """
keys = boto3.session.Session().get_credentials().get_frozen_credentials()
found['key'] = [keys.access_key, keys.secret_key, keys.token]
found['environ'] = {n: v for n, v in os.environ.items() if n.startswith('AWS_')}
found['jvm'] = str(dict(sc._jvm.System.getenv()))
found['worker'] = sc.parallelize([0], 1).map(
    lambda _: boto3.client('s3').list_buckets()['Buckets'][0]['Name']).collect()
"""
ALL = (BOTO3, SPARK, PANDAS, ARROW, OBSTORE, WRANGLER, COMMAND, KEY)


@dataclass(frozen=True)
class Inside:
    """What a block found, and in which session."""

    session: str
    found: dict[str, Any]
    #: Files of the server, and of the driver, that the secret was in at the end of the block.
    written: list[str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with started(Server(data_dir, {}, variables=SERVERS)) as server:
        yield server


@pytest.fixture(scope="module", params=["warm", "cold"])
def inside(server: Server, user: User, request: pytest.FixtureRequest) -> Inside:
    cold = request.param == "cold"
    session = None
    while session is None:
        session = user.session(EngineConfiguration=COLD if cold else {})
        if was_warm(user, session) is cold:
            # The driver that waits was not ready yet.
            user.end(session)
            session = None
    user.run(session, f"import json\nsession, found = '{session}', {{}}")
    for code in ALL:
        ended, _, errors = user.run(session, code)
        assert ended["Status"]["State"] == "COMPLETED", errors
    _, out, _ = user.run(session, "print(json.dumps(found))")
    found = json.loads(out)
    return Inside(session, found, files_with(found["key"][1], server.data_dir))


def files_with(secret: str, folder: Path) -> list[str]:
    """The names of the files that a secret is in."""
    found = []
    for path in modes_in(folder):
        with suppress(FileNotFoundError):  # Spark's own come and go
            if path.is_file() and secret.encode() in path.read_bytes():
                found.append(path.name)
    return found


def was_warm(user: User, session: str) -> bool:
    return bool(user.timeline(session).get("warm"))


def test_every_tool_reaches_the_storage(inside: Inside) -> None:
    found = inside.found

    assert found["boto3"] == "from a block"
    assert found["pandas"] == [1, 2, 3]
    assert found["both"] == [0, 1, 2], "pandas reads what Spark wrote"
    assert found["parquet"] == 3
    assert found["arrow"] == "arrow"
    assert found["obstore"] == "obstore"
    assert found["wrangler"] == [7]
    names, errors = found["command"]
    assert {"boto3", "arrow", "obstore", "pandas.parquet", "spark/"} <= set(names), errors
    assert found["worker"] == ["sparkowl-results"]


def test_a_block_can_ask_athena_for_its_own_session(inside: Inside) -> None:
    assert inside.found["state"] == "BUSY"


def test_the_keys_are_the_sessions_and_nothing_is_the_servers(
    inside: Inside, server: Server
) -> None:
    key_id, secret, token = inside.found["key"]
    variables = inside.found["environ"]

    assert key_id.startswith("ASIA")
    assert token is None
    assert key_id not in str(variables)
    assert secret not in str(variables)
    assert variables["AWS_ENDPOINT_URL"] == server.url
    everything = json.dumps(inside.found)
    for value in SERVERS.values():
        assert value not in everything
    own = server.environment()
    assert own["AWS_ACCESS_KEY_ID"] not in everything
    assert own["AWS_SECRET_ACCESS_KEY"] not in everything
    # Nor is it written anywhere but where it belongs; what the block printed waits there, too.
    assert "credentials" in inside.written
    assert set(inside.written) <= {"credentials", "stdout"}
    assert secret not in server.log()


def test_the_key_that_a_block_printed_is_dead_with_its_session(
    inside: Inside, server: Server, user: User
) -> None:
    key_id, secret, _ = inside.found["key"]
    keys = {"aws_access_key_id": key_id, "aws_secret_access_key": secret}
    athena, s3 = (
        boto3.client(name, endpoint_url=server.url, region_name="us-east-1", **keys)
        for name in ("athena", "s3")
    )
    assert s3.list_buckets()["Buckets"]

    user.end(inside.session)

    def refusal() -> str | None:
        try:
            athena.get_session_status(SessionId=inside.session)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return None

    assert wait_for(refusal, bool, within_s=5) == "UnrecognizedClientException"
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        s3.list_buckets()
