"""The bucket that keeps Terraform's state, which cannot be made by the Terraform that keeps its state there."""

import logging
from contextlib import suppress
from typing import Any

import boto3  # noqa: TID253 - this module is imported late
from botocore import xform_name

from llmops_infra.config import Environment
from llmops_infra.policy import deny, document
from llmops_shared.aws_errors import explained
from llmops_shared.config import Config
from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)


TAKEN = {"BucketAlreadyExists": "the name is taken by another account; set state.bucket to a name of your own"}


class StateBucket(Config):
    """Where the state is kept."""

    bucket: str
    """Name of the bucket."""
    region: str
    """Its region."""


def state_bucket(environment: Environment) -> str:
    """The bucket's name: as set, else made from the project, account and region, for one bucket serves all environments of an account."""
    if environment.state.backend != "s3":
        raise LlmopsError(f"{environment.name} keeps its state in a local file: set state.backend: s3 to keep it in a bucket")
    if environment.state.bucket:
        return environment.state.bucket
    with explained("the account of these credentials"):
        account = boto3.client("sts", region_name=environment.region).get_caller_identity()["Account"]
    if environment.account_id not in (None, account):
        raise LlmopsError(f"the credentials belong to account {account}, and account_id is {environment.account_id}: change one of them")
    return f"{environment.project}-state-{account}-{environment.region}"


def make_state_bucket(environment: Environment) -> StateBucket:
    """Makes the bucket, or brings one of ours to this state: private, versioned, encrypted, over TLS only. Safe to repeat.

    Raises LlmopsError when the environment keeps its state elsewhere, the name is somebody else's, or AWS refuses.
    """
    client, bucket = boto3.client("s3", region_name=environment.region), state_bucket(environment)
    for operation, parameters in requests(bucket, environment.region):
        with explained(f"{bucket}: {operation}", advice=TAKEN), suppress(client.exceptions.BucketAlreadyOwnedByYou):
            getattr(client, xform_name(operation))(**parameters)
    logger.info("the state of %s is kept in s3://%s", environment.name, bucket)
    return StateBucket(bucket=bucket, region=environment.region)


def requests(bucket: str, region: str) -> list[tuple[str, dict[str, Any]]]:
    """Operation and parameters of each request that makes the bucket, in their order."""
    # S3 refuses us-east-1 as a constraint: it is what no constraint means
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    private = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    by_default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}
    arn = f"arn:aws:s3:::{bucket}"
    over_tls = document(deny("TlsOnly", ["s3:*"], [arn, f"{arn}/*"], {"Bool": {"aws:SecureTransport": "false"}}, {"AWS": "*"}))
    old_states = {
        "ID": "old-states",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 365},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    return [
        ("CreateBucket", {"Bucket": bucket, **place}),
        ("PutPublicAccessBlock", {"Bucket": bucket, "PublicAccessBlockConfiguration": private}),
        # a state that was overwritten by mistake can be taken back
        ("PutBucketVersioning", {"Bucket": bucket, "VersioningConfiguration": {"Status": "Enabled"}}),
        ("PutBucketEncryption", {"Bucket": bucket, "ServerSideEncryptionConfiguration": {"Rules": [by_default]}}),
        ("PutBucketPolicy", {"Bucket": bucket, "Policy": over_tls}),
        ("PutBucketLifecycleConfiguration", {"Bucket": bucket, "LifecycleConfiguration": {"Rules": [old_states]}}),
    ]
