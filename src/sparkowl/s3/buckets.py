"""What S3 does with buckets, but for listing what is in them."""

from __future__ import annotations

from typing import Final

from sparkowl.objects.errors import BucketAlreadyExists
from sparkowl.s3 import body, xml
from sparkowl.s3.calls import Answer, Call, Context, arn_of
from sparkowl.s3.errors import not_implemented

#: There is one account; clients want to see some owner.
OWNER: Final[tuple[tuple[str, xml.Value], ...]] = (("ID", "sparkowl"), ("DisplayName", "sparkowl"))
#: Far above any configuration of a bucket, or list of 1,000 keys or 10,000 parts.
MAX_DOCUMENT_BYTES: Final = 4 << 20


async def list_buckets(ctx: Context, call: Call) -> Answer:
    """All of them, but for a session those that its role sees, whatever it may do there."""
    prefix = call.arguments.get("prefix", "")

    def found() -> list[tuple[str, xml.Value]]:
        return [
            ("Bucket", (("Name", name), ("CreationDate", ctx.files.created_at(name))))
            for name in ctx.files.buckets()
            if name.startswith(prefix) and call.caller.reaches("s3:ListBucket", arn_of(name))
        ]

    buckets = await ctx.run(found)
    return xml.answer("ListAllMyBucketsResult", [("Owner", OWNER), ("Buckets", buckets)])


async def create_bucket(ctx: Context, call: Call) -> Answer:
    """The configuration in the body names a region; there is but one place here."""
    if call.headers.get("x-amz-bucket-object-lock-enabled", "false").lower() == "true":
        raise not_implemented("Object lock")
    await body.take_in(ctx, call, body.Memory(), MAX_DOCUMENT_BYTES)
    try:
        await ctx.run(ctx.files.create_bucket, call.bucket)
    except BucketAlreadyExists:
        # In this one region, for reasons of age, S3 lets an owner make a bucket twice.
        if ctx.region != "us-east-1":
            raise
    return Answer(headers={"location": f"/{call.bucket}"})


async def head_bucket(ctx: Context, call: Call) -> Answer:
    await ctx.run(ctx.files.folder, call.bucket)
    return Answer(headers={"x-amz-bucket-region": ctx.region})


async def get_bucket_location(ctx: Context, call: Call) -> Answer:
    await ctx.run(ctx.files.folder, call.bucket)
    # us-east-1 is the region that S3 leaves unnamed.
    region = "" if ctx.region == "us-east-1" else ctx.region
    return xml.answer("LocationConstraint", region)


async def get_bucket_versioning(ctx: Context, call: Call) -> Answer:
    """That there are no versions is an answer: s3fs asks before it removes a bucket."""
    await ctx.run(ctx.files.folder, call.bucket)
    return xml.answer("VersioningConfiguration", None)


async def delete_bucket(ctx: Context, call: Call) -> Answer:
    await ctx.run(ctx.files.delete_bucket, call.bucket)
    return Answer(status=204)
