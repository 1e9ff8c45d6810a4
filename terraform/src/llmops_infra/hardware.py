"""What AWS offers where: regions, and the instance types that have an Elastic Fabric Adapter."""

import re

# regions with SageMaker, of the `aws` partition (docs.aws.amazon.com/general/latest/gr/sagemaker.html)
REGIONS = (
    "af-south-1", "ap-east-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2", "ap-southeast-1",
    "ap-southeast-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5", "ap-southeast-7", "ca-central-1", "ca-west-1", "eu-central-1",
    "eu-central-2", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-2", "eu-west-3", "il-central-1", "me-central-1",
    "me-south-1", "mx-central-1", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2",
)  # fmt: skip

# SageMaker instance types with EFA, and the generation of their Nitro card
# (docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa.html#efa-instance-types)
EFA_NITRO_GENERATION = {
    "ml.g4dn.8xlarge": 3, "ml.g4dn.12xlarge": 3, "ml.g4dn.16xlarge": 3,
    "ml.g5.8xlarge": 3, "ml.g5.12xlarge": 3, "ml.g5.16xlarge": 3, "ml.g5.24xlarge": 3, "ml.g5.48xlarge": 3,
    "ml.g6.8xlarge": 4, "ml.g6.12xlarge": 4, "ml.g6.16xlarge": 4, "ml.g6.24xlarge": 4, "ml.g6.48xlarge": 4,
    "ml.g6e.8xlarge": 4, "ml.g6e.12xlarge": 4, "ml.g6e.16xlarge": 4, "ml.g6e.24xlarge": 4, "ml.g6e.48xlarge": 4,
    "ml.p3dn.24xlarge": 3, "ml.p4d.24xlarge": 3, "ml.p4de.24xlarge": 3,
    "ml.p5.4xlarge": 4, "ml.p5.48xlarge": 4, "ml.p5e.48xlarge": 4, "ml.p5en.48xlarge": 5, "ml.p6-b200.48xlarge": 6,
    "ml.trn1.32xlarge": 4, "ml.trn1n.32xlarge": 4, "ml.trn2.48xlarge": 5,
}  # fmt: skip

# Families with disks inside the host. The hardware encrypts them, and SageMaker refuses a job or an endpoint that names a key for them
# (docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpointConfig.html, KmsKeyId).
LOCAL_DISKS = re.compile(r"^(g4dn|gr?6|g[56]e?|p3dn|p4de?|p5(e|en)?|p6-?.*|trn\d.*|i\d.*|[cmr]\d[a-z]*d[a-z]*)$")

# FSx for Lustre talks EFA to cards of this generation or newer (docs.aws.amazon.com/fsx/latest/LustreGuide/efa-file-systems.html)
FSX_EFA_NITRO_GENERATION = 4


def has_efa(instance_type: str) -> bool:
    """Whether jobs on this SageMaker instance type can use EFA."""
    return instance_type in EFA_NITRO_GENERATION


def reaches_fsx_by_efa(instance_type: str) -> bool:
    """Whether this SageMaker instance type can mount an EFA-enabled file system over EFA."""
    return EFA_NITRO_GENERATION.get(instance_type, 0) >= FSX_EFA_NITRO_GENERATION


def ec2_type(instance_type: str) -> str:
    """The EC2 type behind a SageMaker instance type."""
    return instance_type.removeprefix("ml.")


def takes_a_key(instance_type: str) -> bool:
    """Whether a KMS key may be named for the disks of this SageMaker instance type."""
    return not LOCAL_DISKS.match(ec2_type(instance_type).partition(".")[0])
