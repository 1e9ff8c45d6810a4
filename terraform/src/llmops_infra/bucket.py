"""A bucket as every bucket here is: private, encrypted, over TLS only, logged, listed, measured per prefix."""

from collections.abc import Sequence
from dataclasses import dataclass

from cdktn_provider_aws.s3_bucket import S3Bucket
from cdktn_provider_aws.s3_bucket_inventory import (
    S3BucketInventory,
    S3BucketInventoryDestination,
    S3BucketInventoryDestinationBucket,
    S3BucketInventoryDestinationBucketEncryption,
    S3BucketInventoryDestinationBucketEncryptionSseS3,
    S3BucketInventorySchedule,
)
from cdktn_provider_aws.s3_bucket_lifecycle_configuration import (
    S3BucketLifecycleConfiguration,
    S3BucketLifecycleConfigurationRule,
    S3BucketLifecycleConfigurationRuleAbortIncompleteMultipartUpload,
    S3BucketLifecycleConfigurationRuleExpiration,
    S3BucketLifecycleConfigurationRuleFilter,
    S3BucketLifecycleConfigurationRuleNoncurrentVersionExpiration,
)
from cdktn_provider_aws.s3_bucket_logging import S3BucketLoggingA
from cdktn_provider_aws.s3_bucket_metric import S3BucketMetric, S3BucketMetricFilter
from cdktn_provider_aws.s3_bucket_ownership_controls import S3BucketOwnershipControls, S3BucketOwnershipControlsRule
from cdktn_provider_aws.s3_bucket_policy import S3BucketPolicy
from cdktn_provider_aws.s3_bucket_public_access_block import S3BucketPublicAccessBlock
from cdktn_provider_aws.s3_bucket_server_side_encryption_configuration import (
    S3BucketServerSideEncryptionConfigurationA,
    S3BucketServerSideEncryptionConfigurationRuleA,
    S3BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultA,
)
from cdktn_provider_aws.s3_bucket_versioning import S3BucketVersioningA, S3BucketVersioningVersioningConfiguration
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.policy import Statement, deny, document
from llmops_infra.stack import Account


@dataclass(frozen=True)
class Contents:
    """What a bucket holds."""

    prefixes: Sequence[str]
    """Its top folders; S3's request rates count per prefix, so what is read hard and written hard is kept apart."""
    versioned: bool
    """Whether overwritten objects stay restorable; no for what is written once and soon deleted."""
    expire_days: int | None = None
    """Objects are deleted after this many days; None: kept."""


class Bucket(Construct):
    """One bucket. Without a key it is encrypted by S3's own, which is all that S3 can deliver logs to."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        account: Account,
        contents: Contents,
        key_arn: str | None = None,
        statements: Sequence[Statement] = (),
    ) -> None:
        super().__init__(scope, name)
        self.contents = contents
        self.bucket = S3Bucket(
            self,
            "bucket",
            # bucket names are shared by all of AWS: account and region make them ours
            bucket=f"{environment.prefix}-{name}-{account.id}-{account.region}",
            force_destroy=not environment.protect,
        )
        self.name, self.arn = self.bucket.bucket, self.bucket.arn
        block = S3BucketPublicAccessBlock(
            self,
            "private",
            bucket=self.bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
        )
        owner = S3BucketOwnershipControlsRule(object_ownership="BucketOwnerEnforced")
        S3BucketOwnershipControls(self, "owner", bucket=self.bucket.id, rule=owner)
        policy = document(self._tls_only(), *statements)
        # S3 refuses two changes of a bucket's access at once
        S3BucketPolicy(self, "policy", bucket=self.bucket.id, policy=policy, depends_on=[block])
        status = S3BucketVersioningVersioningConfiguration(status="Enabled" if contents.versioned else "Suspended")
        S3BucketVersioningA(self, "versions", bucket=self.bucket.id, versioning_configuration=status)
        self._encrypt(key_arn)
        self._expire(environment.storage.noncurrent_days)
        self._measure()

    def uri(self, prefix: str) -> str:
        """s3:// URI of one of its prefixes."""
        assert prefix in self.contents.prefixes, prefix
        return f"s3://{self.name}/{prefix}"

    def deliver_to(self, logs: "Bucket") -> None:
        """Access logs and a weekly inventory of this bucket, kept in another one."""
        S3BucketLoggingA(self, "access-log", bucket=self.bucket.id, target_bucket=logs.bucket.id, target_prefix=f"access/{self.node.id}/")
        by_s3 = S3BucketInventoryDestinationBucketEncryption(sse_s3=S3BucketInventoryDestinationBucketEncryptionSseS3())
        place = S3BucketInventoryDestinationBucket(bucket_arn=logs.arn, format="Parquet", prefix="inventory", encryption=by_s3)
        S3BucketInventory(
            self,
            "inventory",
            bucket=self.bucket.id,
            name="weekly",
            included_object_versions="All",
            schedule=S3BucketInventorySchedule(frequency="Weekly"),
            destination=S3BucketInventoryDestination(bucket=place),
            optional_fields=["Size", "LastModifiedDate", "StorageClass", "EncryptionStatus", "ChecksumAlgorithm"],
        )

    def _tls_only(self) -> Statement:
        plain = {"Bool": {"aws:SecureTransport": "false"}}
        return deny("TlsOnly", ["s3:*"], [self.arn, f"{self.arn}/*"], plain, {"AWS": "*"})

    def _encrypt(self, key_arn: str | None) -> None:
        by_default = S3BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultA(
            sse_algorithm="aws:kms" if key_arn else "AES256", kms_master_key_id=key_arn
        )
        # a bucket key spares a call to KMS per object, which thousands of shards would pay for in time and money
        rule = S3BucketServerSideEncryptionConfigurationRuleA(
            apply_server_side_encryption_by_default=by_default, bucket_key_enabled=bool(key_arn)
        )
        S3BucketServerSideEncryptionConfigurationA(self, "encryption", bucket=self.bucket.id, rule=[rule])

    def _expire(self, noncurrent_days: int) -> None:
        everything = S3BucketLifecycleConfigurationRuleFilter(prefix="")
        rules = [
            S3BucketLifecycleConfigurationRule(
                status="Enabled",
                id="leftovers",
                filter=[everything],
                abort_incomplete_multipart_upload=[
                    S3BucketLifecycleConfigurationRuleAbortIncompleteMultipartUpload(days_after_initiation=7)
                ],
                noncurrent_version_expiration=[
                    S3BucketLifecycleConfigurationRuleNoncurrentVersionExpiration(noncurrent_days=noncurrent_days)
                ],
            )
        ]
        if self.contents.expire_days is not None:
            expiration = [S3BucketLifecycleConfigurationRuleExpiration(days=self.contents.expire_days)]
            rules.append(S3BucketLifecycleConfigurationRule(status="Enabled", id="age", filter=[everything], expiration=expiration))
        S3BucketLifecycleConfiguration(self, "lifecycle", bucket=self.bucket.id, rule=rules)

    def _measure(self) -> None:
        for prefix in self.contents.prefixes:
            S3BucketMetric(self, f"{prefix}-metric", bucket=self.bucket.id, name=prefix, filter=S3BucketMetricFilter(prefix=f"{prefix}/"))
