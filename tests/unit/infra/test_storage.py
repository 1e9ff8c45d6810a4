"""S3 as heavy readers and writers need it, and the file system in front of it."""

from typing import Any

from support.infrastructure import Stacks, synthesized
from support.stacks import ACCOUNT, Resources, statements

PURPOSES = {"raw", "datasets", "checkpoints", "models", "captures", "logs"}


def bucket(purpose: str) -> str:
    return f"${{aws_s3_bucket.storage_{purpose}_bucket.id}}"


def of(platform: Resources, kind: str, purpose: str) -> list[dict[str, Any]]:
    """What a bucket has of a kind."""
    return [resource for resource in platform[f"aws_s3_bucket_{kind}"].values() if resource["bucket"] == bucket(purpose)]


def test_training_data_and_checkpoints_never_share_a_prefix(stacks: Stacks) -> None:
    outputs = synthesized(stacks["platform"])["output"]
    places = {name: outputs[name]["value"] for name in outputs if name.endswith("_uri") and outputs[name]["value"].startswith("s3://")}

    assert len(set(places.values())) == len(places) == 11
    assert not [one for one in places.values() for other in places.values() if one != other and other.startswith(f"{one}/")]
    assert places["datasets_uri"].split("/")[2] != places["checkpoints_uri"].split("/")[2]


def test_request_metrics_are_on_for_every_prefix_that_is_handed_out(platform: Resources, stacks: Stacks) -> None:
    outputs = synthesized(stacks["platform"])["output"]
    handed_out = {item["value"].split("/", 3)[3] for item in outputs.values() if str(item["value"]).startswith("s3://")}

    measured = {metric["filter"]["prefix"] for metric in platform["aws_s3_bucket_metric"].values()}

    assert {f"{prefix}/" for prefix in handed_out} <= measured


def test_every_measured_prefix_has_an_alarm_on_503(platform: Resources) -> None:
    measured = {
        (metric["bucket"].removesuffix(".id}"), metric["name"])
        for metric in platform["aws_s3_bucket_metric"].values()
        if metric["bucket"] != bucket("logs")
    }
    alarms = [alarm for alarm in platform["aws_cloudwatch_metric_alarm"].values() if alarm.get("namespace") == "AWS/S3"]

    assert {(alarm["dimensions"]["BucketName"].removesuffix(".bucket}"), alarm["dimensions"]["FilterId"]) for alarm in alarms} == measured
    for alarm in alarms:
        assert alarm["metric_name"] == "5xxErrors"
        assert "503" in alarm["alarm_description"]
        assert alarm["alarm_actions"] == ["${aws_sns_topic.alerts_topic.arn}"]


def test_every_bucket_is_private_over_tls_only_and_expires_its_leftovers(platform: Resources) -> None:
    for purpose in PURPOSES:
        (block,) = of(platform, "public_access_block", purpose)
        assert all(block[name] for name in ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"))
        (policy,) = of(platform, "policy", purpose)
        tls = statements(policy["policy"])[0]
        assert (tls["Effect"], tls["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
        (lifecycle,) = of(platform, "lifecycle_configuration", purpose)
        assert lifecycle["rule"][0]["abort_incomplete_multipart_upload"] == [{"days_after_initiation": 7}]


def test_each_class_of_data_has_its_own_key(platform: Resources) -> None:
    keys = set()
    for purpose in PURPOSES - {"logs"}:
        (encryption,) = of(platform, "server_side_encryption_configuration", purpose)
        (rule,) = encryption["rule"]
        assert rule["bucket_key_enabled"]
        keys.add(rule["apply_server_side_encryption_by_default"]["kms_master_key_id"])

    assert keys == {f"${{aws_kms_key.keys_{purpose}.arn}}" for purpose in PURPOSES - {"logs"}}


def test_what_has_to_be_restorable_is_versioned(platform: Resources) -> None:
    status = {purpose: of(platform, "versioning", purpose)[0]["versioning_configuration"]["status"] for purpose in PURPOSES}

    assert {purpose for purpose in PURPOSES if status[purpose] == "Enabled"} == {"raw", "datasets", "models", "logs"}


def test_buckets_log_and_list_into_the_logs_bucket_which_takes_it_from_this_account_only(platform: Resources) -> None:
    for purpose in PURPOSES - {"logs"}:
        (log,) = of(platform, "logging", purpose)
        assert (log["target_bucket"], log["target_prefix"]) == (bucket("logs"), f"access/{purpose}/")
        (inventory,) = of(platform, "inventory", purpose)
        assert inventory["destination"]["bucket"]["bucket_arn"] == "${aws_s3_bucket.storage_logs_bucket.arn}"
    _tls, *deliveries = statements(of(platform, "policy", "logs")[0]["policy"])
    assert [item["Condition"] for item in deliveries] == [{"StringEquals": {"aws:SourceAccount": ACCOUNT}}] * 2


def test_captures_and_checkpoints_go_by_age(platform: Resources) -> None:
    def days(purpose: str) -> int:
        (lifecycle,) = of(platform, "lifecycle_configuration", purpose)
        (age,) = [rule for rule in lifecycle["rule"] if rule["id"] == "age"]
        expiry: int = age["expiration"][0]["days"]
        return expiry

    assert (days("checkpoints"), days("captures")) == (30, 90)


def test_lustre_is_persistent_2_on_efa_and_filled_from_the_datasets(platform: Resources) -> None:
    (lustre,) = platform["aws_fsx_lustre_file_system"].values()
    (association,) = platform["aws_fsx_data_repository_association"].values()

    assert (lustre["deployment_type"], lustre["storage_capacity"], lustre["per_unit_storage_throughput"]) == ("PERSISTENT_2", 38400, 125)
    assert lustre["efa_enabled"]
    assert lustre["metadata_configuration"] == {"mode": "AUTOMATIC"}  # which EFA asks for
    assert lustre["kms_key_id"] == "${aws_kms_key.keys_datasets.arn}"
    assert lustre["security_group_ids"] == [f"${{aws_security_group.network_groups_{name}.id}}" for name in ("fsx", "efa")]
    assert association["data_repository_path"] == "s3://${aws_s3_bucket.storage_datasets_bucket.bucket}/datasets"
    assert association["s3"]["auto_import_policy"]["events"] == ["NEW", "CHANGED", "DELETED"]
