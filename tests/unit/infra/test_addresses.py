"""Addresses of what holds data are permanent: with another address Terraform destroys it and makes it anew, empty."""

from support.infrastructure import Stacks, synthesized

PINNED = {
    "aws_cognito_user_pool.people_pool",
    "aws_db_subnet_group.pgvector_subnets",
    "aws_ecr_repository.registry_monitor",
    "aws_ecr_repository.registry_preprocess",
    "aws_ecr_repository.registry_serve",
    "aws_ecr_repository.registry_train",
    "aws_fsx_data_repository_association.lustre_datasets",
    "aws_fsx_lustre_file_system.lustre_file-system",
    "aws_kendra_index.kendra_index",
    "aws_kms_key.keys_captures",
    "aws_kms_key.keys_checkpoints",
    "aws_kms_key.keys_datasets",
    "aws_kms_key.keys_models",
    "aws_kms_key.keys_operations",
    "aws_kms_key.keys_raw",
    "aws_opensearchserverless_collection.opensearch_collection",
    "aws_rds_cluster.pgvector_cluster",
    "aws_rds_cluster_instance.pgvector_instance-0",
    "aws_rds_cluster_instance.pgvector_instance-1",
    "aws_s3_bucket.storage_captures_bucket",
    "aws_s3_bucket.storage_checkpoints_bucket",
    "aws_s3_bucket.storage_datasets_bucket",
    "aws_s3_bucket.storage_logs_bucket",
    "aws_s3_bucket.storage_models_bucket",
    "aws_s3_bucket.storage_raw_bucket",
    "aws_sagemaker_mlflow_tracking_server.tracking_server",
    "aws_sagemaker_model_package_group.registry_models",
    "aws_sagemaker_workforce.people_workforce",
    "aws_sagemaker_workteam.people_team",
    "aws_subnet.network_private-0",
    "aws_subnet.network_private-1",
    "aws_subnet.network_private-2",
    "aws_vpc.network_vpc",
}
STATEFUL = {address.partition(".")[0] for address in PINNED}


def test_stateful_resources_keep_their_addresses(stacks: Stacks) -> None:
    resources = synthesized(stacks["platform"])["resource"]

    found = {f"{kind}.{name}" for kind in STATEFUL for name in resources[kind]}

    assert found - {"aws_subnet.network_nat_public"} == PINNED


def test_the_endpoint_keeps_its_address(stacks: Stacks) -> None:
    assert list(synthesized(stacks["serving"])["resource"]["aws_sagemaker_endpoint"]) == ["endpoint_endpoint"]


def test_what_holds_data_is_protected_where_the_environment_says_so(platform: dict[str, dict[str, dict[str, object]]]) -> None:
    assert not any(bucket["force_destroy"] for bucket in platform["aws_s3_bucket"].values())
    assert not any(repository["force_delete"] for repository in platform["aws_ecr_repository"].values())
    assert all(cluster["deletion_protection"] for cluster in platform["aws_rds_cluster"].values())
