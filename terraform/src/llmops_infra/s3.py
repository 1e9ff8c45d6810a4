"""The bucket that keeps Terraform's state, which cannot be made by the Terraform that keeps its state there."""

import logging
from typing import Any

import boto3  # noqa: TID253 - this module is imported late
from botocore.exceptions import ClientError

from llmops_infra.config import Environment
from llmops_infra.policy import deny, document
from llmops_shared.config import Config
from llmops_shared.errors import LlmopsError

logger = logging.getLogger(__name__)


class StateBucket(Config):
    """Where the state is kept."""

    bucket: str
    """Name of the bucket."""
    region: str
    """Its region."""


def state_bucket(environment: Environment) -> str:
    """The bucket's name: as set, else made from the project, account and region, for one bucket serves all environments of an account."""
    if environment.state.bucket:
        return environment.state.bucket
    account = boto3.client("sts", region_name=environment.region).get_caller_identity()["Account"]
    if environment.account_id not in (None, account):
        raise LlmopsError(f"the credentials belong to account {account}, and account_id is {environment.account_id}: change one of them")
    return f"{environment.project}-state-{account}-{environment.region}"


def make_state_bucket(environment: Environment) -> StateBucket:
    """Makes the bucket, or brings one of ours to this state: private, versioned, encrypted, over TLS only. Safe to repeat.

    Raises LlmopsError when the environment keeps its state elsewhere or the name is somebody else's.
    """
    if environment.state.backend != "s3":
        raise LlmopsError(f"{environment.name} keeps its state in a local file: set state.backend: s3 to keep it in a bucket")
    client, bucket = boto3.client("s3", region_name=environment.region), state_bucket(environment)
    _create(client, bucket, environment.region)
    client.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
    # a state that was overwritten by mistake can be taken back
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    by_default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [by_default]})
    arn = f"arn:aws:s3:::{bucket}"
    plain = {"Bool": {"aws:SecureTransport": "false"}}
    client.put_bucket_policy(Bucket=bucket, Policy=document(deny("TlsOnly", ["s3:*"], [arn, f"{arn}/*"], plain, {"AWS": "*"})))
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "old-states",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 365},
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                }
            ]
        },
    )
    logger.info("the state of %s is kept in s3://%s", environment.name, bucket)
    return StateBucket(bucket=bucket, region=environment.region)


def _create(client: Any, bucket: str, region: str) -> None:
    # S3 refuses us-east-1 as a constraint: it is what no constraint means
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        client.create_bucket(Bucket=bucket, **place)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "BucketAlreadyExists":
            raise LlmopsError(f"{bucket}: the name is taken by another account; set state.bucket to a name of your own") from error
        if code != "BucketAlreadyOwnedByYou":
            raise
