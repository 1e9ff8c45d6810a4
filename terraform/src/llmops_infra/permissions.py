"""What jobs need, in statements that several roles share."""

from collections.abc import Sequence

from llmops_infra.bucket import Bucket
from llmops_infra.config import Environment
from llmops_infra.policy import Statement, allow
from llmops_infra.private_services import MLFLOW_ACTIONS
from llmops_infra.stack import Account
from llmops_shared.contracts.platform import METRICS_NAMESPACE

READ_OBJECTS = ("s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging")
WRITE_OBJECTS = (*READ_OBJECTS, "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")


def read(bucket: Bucket, *prefixes: str) -> list[Statement]:
    """List and read objects under some prefixes of a bucket; all of them when none is named."""
    return [find(bucket, prefixes), allow(f"Read{name_of(bucket)}", READ_OBJECTS, places(bucket, prefixes))]


def write(bucket: Bucket, *prefixes: str, delete: bool = False) -> list[Statement]:
    """List, read and write objects under some prefixes of a bucket; all of them when none is named."""
    actions = [*WRITE_OBJECTS, *(["s3:DeleteObject"] if delete else [])]
    return [find(bucket, prefixes), allow(f"Write{name_of(bucket)}", actions, places(bucket, prefixes))]


def find(bucket: Bucket, prefixes: Sequence[str]) -> Statement:
    """List a bucket."""
    folders = [pattern for prefix in prefixes or bucket.contents.prefixes for pattern in (prefix, f"{prefix}/*")]
    within = {"StringLike": {"s3:prefix": folders}}
    return allow(f"Find{name_of(bucket)}", ["s3:ListBucket", "s3:ListBucketMultipartUploads"], [bucket.arn], within)


def places(bucket: Bucket, prefixes: Sequence[str]) -> list[str]:
    """The objects under the prefixes, as ARNs."""
    return [f"{bucket.arn}/{prefix}/*" for prefix in prefixes or bucket.contents.prefixes]


def name_of(bucket: Bucket) -> str:
    """The bucket's purpose, for a statement id."""
    return str(bucket.node.id).capitalize()


def run_in_vpc(account: Account) -> list[Statement]:
    """What SageMaker and Glue do to connect a job to the VPC (docs.aws.amazon.com/sagemaker/latest/dg/train-vpc.html)."""
    interfaces = [account.arn("ec2", f"{kind}/*") for kind in ("network-interface", "subnet", "security-group")]
    change = ["CreateNetworkInterface", "CreateNetworkInterfacePermission", "DeleteNetworkInterface", "DeleteNetworkInterfacePermission"]
    look = ["NetworkInterfaces", "Vpcs", "DhcpOptions", "Subnets", "SecurityGroups", "RouteTables", "VpcEndpoints"]
    return [
        allow("Connect", [f"ec2:{call}" for call in change], interfaces),
        allow("LookAround", [f"ec2:Describe{what}" for what in look], ["*"]),  # EC2 has no finer resource for these
    ]


def pull_images(account: Account) -> list[Statement]:
    """Pull images of this account, and AWS's own for deep learning."""
    pull = ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"]
    return [
        allow("PullImages", pull, [account.arn("ecr", "repository/*", account="*")]),
        allow("EnterRegistry", ["ecr:GetAuthorizationToken"], ["*"]),  # has no resource
    ]


def write_logs(account: Account, *groups: str) -> Statement:
    """Write to log groups."""
    places = [account.arn("logs", f"log-group:{group}*") for group in groups]
    return allow("WriteLogs", ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"], places)


def publish_metrics(*namespaces: str) -> Statement:
    """Publish metrics, in these namespaces only."""
    within = {"StringEquals": {"cloudwatch:namespace": list(namespaces)}}
    return allow("PublishMetrics", ["cloudwatch:PutMetricData"], ["*"], within)


def track(account: Account, environment: Environment) -> list[Statement]:
    """Record runs in this environment's MLflow."""
    server, app = account.arn("sagemaker", f"mlflow-tracking-server/{environment.prefix}"), account.arn("sagemaker", "mlflow-app/*")
    own = {"StringEquals": {"aws:ResourceTag/Environment": environment.name}}
    return [
        allow("Track", [*MLFLOW_ACTIONS, "sagemaker:DescribeMlflowTrackingServer"], [server]),
        # the id of an app is given by AWS, so that its tags say whose it is
        allow("TrackServerless", [*MLFLOW_ACTIONS, "sagemaker:DescribeMlflowApp"], [app], own),
    ]


def run_job(account: Account, environment: Environment) -> list[Statement]:
    """What every SageMaker job of ours does: images, VPC, logs, metrics, MLflow."""
    return [
        *pull_images(account),
        *run_in_vpc(account),
        write_logs(account, "/aws/sagemaker/"),
        publish_metrics(METRICS_NAMESPACE, "/aws/sagemaker/TrainingJobs", "/aws/sagemaker/ProcessingJobs", "/aws/sagemaker/Endpoints"),
        *track(account, environment),
    ]
