"""A notebook in the browser, with nothing but boto3.

Run it against a running server:

    eval "$(sparkowl env)"
    python examples/notebook.py examples/delays.ipynb

It puts the notebook into a bucket, starts a session for it, and prints the link that opens it.
"""

import os
import sys
import time
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

BUCKET = "my-notebooks"


def main(file: Path) -> None:
    # `sparkowl env` named one address for both services.
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    s3 = boto3.client("s3", endpoint_url=endpoint)
    athena = boto3.client("athena", endpoint_url=endpoint)

    try:
        s3.create_bucket(Bucket=BUCKET)
    except ClientError as error:
        if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
            raise
    s3.upload_file(str(file), BUCKET, file.name)

    session = athena.start_session(
        WorkGroup="spark",
        NotebookVersion="Athena notebook version 1",
        EngineConfiguration={
            "AdditionalConfigs": {"NotebookFileURI": f"s3://{BUCKET}/{file.name}"}
        },
    )["SessionId"]
    print("session", session, flush=True)

    while True:
        status = athena.get_session_status(SessionId=session)["Status"]
        if status["State"] == "IDLE":
            break
        if status["State"] not in ("CREATING", "CREATED"):
            sys.exit(f"{status['State']}: {status['StateChangeReason']}")
        time.sleep(0.1)

    link = athena.create_presigned_notebook_url(SessionId=session)["NotebookUrl"]
    print("open within ten minutes:", link, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
