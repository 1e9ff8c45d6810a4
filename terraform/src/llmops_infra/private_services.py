"""Which services have an interface endpoint, and what may be called through each: the calls our jobs make, nothing else."""

from collections.abc import Mapping, Sequence

from llmops_infra.config import Environment

# docs.aws.amazon.com/sagemaker/latest/dg/mlflow-create-tracking-server-iam.html
MLFLOW_ACTIONS = [
    "sagemaker:CallMlflowAppApi",  # all that the serverless app asks for
    *(f"sagemaker-mlflow:{call}" for call in (
        "AccessUI", "CreateExperiment", "CreateModelVersion", "CreateRegisteredModel", "CreateRun",
        "GetDownloadURIForModelVersionArtifacts",
        "GetExperiment", "GetExperimentByName", "GetLatestModelVersions", "GetMetricHistory", "GetModelVersion", "GetModelVersionByAlias",
        "GetRegisteredModel", "GetRun", "ListArtifacts", "LogBatch", "LogInputs", "LogMetric", "LogModel", "LogParam", "SearchExperiments",
        "SearchModelVersions", "SearchRegisteredModels", "SearchRuns", "SetExperimentTag", "SetModelVersionTag", "SetRegisteredModelAlias",
        "SetRegisteredModelTag", "SetTag", "UpdateModelVersion", "UpdateRegisteredModel", "UpdateRun",
    )),
]  # fmt: skip

ACTIONS: Mapping[str, Sequence[str]] = {
    "sagemaker.api": [
        "sagemaker:AddTags", "sagemaker:Create*", "sagemaker:Describe*", "sagemaker:List*", "sagemaker:Search",
        "sagemaker:StartPipelineExecution", "sagemaker:StopTrainingJob", "sagemaker:StopProcessingJob", "sagemaker:Update*",
    ],
    "mlflow": MLFLOW_ACTIONS,
    "sagemaker.runtime": [
        "sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointAsync", "sagemaker:InvokeEndpointWithResponseStream",
    ],
    "ecr.api": [
        "ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage",
        "ecr:DescribeImages", "ecr:DescribeRepositories",
    ],
    "ecr.dkr": ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage", "ecr:GetAuthorizationToken"],
    "logs": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents"],
    "monitoring": ["cloudwatch:PutMetricData", "cloudwatch:GetMetricData", "cloudwatch:GetMetricStatistics", "cloudwatch:ListMetrics"],
    "events": ["events:PutEvents"],
    "sts": ["sts:AssumeRole", "sts:GetCallerIdentity"],
    "kms": [
        "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:CreateGrant",
    ],
    "secretsmanager": ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"],
    "ssm": ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"],
    "textract": [
        "textract:AnalyzeDocument", "textract:DetectDocumentText", "textract:StartDocumentAnalysis", "textract:StartDocumentTextDetection",
        "textract:GetDocumentAnalysis", "textract:GetDocumentTextDetection",
    ],
    "comprehend": [
        "comprehend:DetectDominantLanguage", "comprehend:BatchDetectDominantLanguage", "comprehend:DetectPiiEntities",
        "comprehend:ContainsPiiEntities", "comprehend:DetectToxicContent", "comprehend:DetectSentiment", "comprehend:BatchDetectSentiment",
        "comprehend:DetectEntities", "comprehend:BatchDetectEntities", "comprehend:DetectKeyPhrases", "comprehend:BatchDetectKeyPhrases",
    ],
    "bedrock-runtime": [
        "bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream", "bedrock:Converse", "bedrock:ConverseStream",
        "bedrock:ApplyGuardrail",
    ],
    "bedrock-agent-runtime": ["bedrock:Rerank"],
    "kendra": [
        "kendra:BatchDeleteDocument", "kendra:BatchGetDocumentStatus", "kendra:BatchPutDocument", "kendra:DescribeIndex", "kendra:Retrieve",
        "kendra:UpdateIndex",
    ],
}  # fmt: skip


def services_of(environment: Environment) -> list[str]:
    """The services of `network.private_services`, and those of the kinds of retrieval that are switched on.

    OpenSearch Serverless has an endpoint of its own kind beside its collection.
    """
    retrieval = environment.retrieval
    services: list[str] = list(environment.network.private_services)
    if "bedrock-runtime" in services and (retrieval.opensearch or retrieval.pgvector or retrieval.kendra):
        services.append("bedrock-agent-runtime")  # reranks what a store found
    if retrieval.kendra:
        services.append("kendra")
    return services
