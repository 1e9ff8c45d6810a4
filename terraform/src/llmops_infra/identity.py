"""Who may do what: a role per service, for the pipeline, Glue, labeling, MLflow and the scheduler."""

from cdktn_provider_aws.iam_role import IamRole
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.keys import Keys
from llmops_infra.permissions import publish_metrics, read, run_in_vpc, run_job, write, write_logs
from llmops_infra.policy import Statement, allow, pass_role
from llmops_infra.private_services import ACTIONS
from llmops_infra.role import service_role
from llmops_infra.stack import Account
from llmops_infra.storage import Buckets
from llmops_shared.contracts.platform import METRICS_NAMESPACE


class Identity(Construct):
    """The roles, by what they are for."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, account: Account, buckets: Buckets, keys: Keys) -> None:
        super().__init__(scope, name)
        self._environment, self._account, self._buckets, self._keys = environment, account, buckets, keys
        self._prefix = environment.prefix
        self.preprocess = self._role("preprocess", "sagemaker", self._preprocess())
        self.train = self._role("train", "sagemaker", self._train())
        self.serve = self._role("serve", "sagemaker", self._serve())
        self.monitor = self._role("monitor", "sagemaker", self._monitor())
        self.glue = self._role("glue", "glue", self._glue())
        self.labeling = self._role("labeling", "sagemaker", self._labeling())
        self.tracking = self._role("tracking", "sagemaker", self._tracking())
        self.pipeline = self._role("pipeline", "sagemaker", self._pipeline())
        self.schedule = self._role("schedule", "scheduler", self._schedule())
        self.events = self._role("events", "events", [self._start_pipeline()])

    def arns(self) -> dict[str, str]:
        """ARNs of the roles that commands name."""
        roles = ("preprocess", "train", "serve", "monitor", "glue", "labeling", "pipeline")
        return {role: getattr(self, role).arn for role in roles}

    def _role(self, purpose: str, service: str, statements: list[Statement]) -> IamRole:
        name = f"{self._prefix}-{purpose}"
        return service_role(self, purpose, role_name=name, account=self._account, services=[service], statements=statements)

    def _preprocess(self) -> list[Statement]:
        collection, index = self._account.arn("aoss", "collection/*"), self._account.arn("kendra", "index/*")
        write_documents = ("BatchPutDocument", "BatchDeleteDocument", "BatchGetDocumentStatus", "DescribeIndex", "UpdateIndex")
        return [
            *run_job(self._account, self._environment),
            *read(self._buckets.raw),
            *write(self._buckets.datasets),
            self._keys.use(["raw", "datasets", "models"]),
            self._keys.lend(["datasets"]),
            # documents go in and come out in the call itself: these services have no resources to name
            allow("ReadDocuments", ACTIONS["textract"], ["*"]),
            allow("ReadLanguage", ACTIONS["comprehend"], ["*"]),
            allow("WriteVectors", ["aoss:APIAccessAll"], [collection], self._own_tag()),
            allow("WriteDocuments", [f"kendra:{call}" for call in write_documents], [index], self._own_tag()),
            allow("EnterDatabase", ["rds-db:connect"], [self._account.arn("rds-db", "dbuser:*/retrieval")]),
            *self._embed(),
        ]

    def _train(self) -> list[Statement]:
        return [
            *run_job(self._account, self._environment),
            *read(self._buckets.datasets),
            *write(self._buckets.checkpoints, delete=True),
            *write(self._buckets.models),
            self._keys.use(["datasets", "checkpoints", "models"]),
            self._keys.lend(["checkpoints", "models"]),
        ]

    def _serve(self) -> list[Statement]:
        collection, index = self._account.arn("aoss", "collection/*"), self._account.arn("kendra", "index/*")
        return [
            *run_job(self._account, self._environment),
            *read(self._buckets.models),
            *read(self._buckets.datasets, "indexes"),
            *write(self._buckets.captures, "exchanges"),
            self._keys.use(["models", "datasets", "captures"]),
            self._keys.lend(["captures"]),
            allow("SearchVectors", ["aoss:APIAccessAll"], [collection], self._own_tag()),
            allow("SearchDocuments", ["kendra:Query", "kendra:Retrieve"], [index], self._own_tag()),
            allow("EnterDatabase", ["rds-db:connect"], [self._account.arn("rds-db", "dbuser:*/retrieval")]),
            *self._embed(),
            allow("Guard", ["bedrock:ApplyGuardrail"], [self._account.arn("bedrock", "guardrail/*")], self._own_tag()),
        ]

    def _own_tag(self) -> dict[str, dict[str, str]]:
        """The condition that a resource belongs to this environment."""
        return {"StringEquals": {"aws:ResourceTag/Environment": self._environment.name}}

    def _embed(self) -> list[Statement]:
        """Embedders, rerankers and models behind a gateway: endpoints of this environment and Bedrock's own models."""
        account = self._account
        endpoints = [account.arn("sagemaker", "endpoint/*")]
        models = [account.arn("bedrock", "foundation-model/*", account="")]
        calls = ["sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointWithResponseStream"]
        return [
            allow("AskEndpoints", calls, endpoints, self._own_tag()),
            allow("AskModels", ["bedrock:InvokeModel"], models),
            allow("Rerank", ["bedrock:Rerank"], ["*"]),  # has no resource
        ]

    def _monitor(self) -> list[Statement]:
        account = self._account
        return [
            *run_job(account, self._environment),
            *read(self._buckets.datasets),
            *write(self._buckets.captures),
            *read(self._buckets.models, "endpoints", "packages"),
            self._keys.use(["datasets", "captures", "models"]),
            self._keys.lend(["captures"]),
            allow("ReadMetrics", ["cloudwatch:GetMetricData", "cloudwatch:ListMetrics"], ["*"]),  # has no resource
            allow("TellOfDrift", ["events:PutEvents"], [account.arn("events", "event-bus/default")]),
            allow(
                "AskPeople",
                ["sagemaker:StartHumanLoop", "sagemaker:DescribeHumanLoop", "sagemaker:ListHumanLoops"],
                [account.arn("sagemaker", f"flow-definition/{self._prefix}-*"), account.arn("sagemaker", "human-loop/*")],
            ),
            allow(
                "Label",
                ["sagemaker:CreateLabelingJob", "sagemaker:DescribeLabelingJob", "sagemaker:StopLabelingJob"],
                [account.arn("sagemaker", f"labeling-job/{self._prefix}-*")],
            ),
            pass_role([self._name_arn("labeling")], "sagemaker"),
        ]

    def _glue(self) -> list[Statement]:
        account = self._account
        connection = [account.arn("glue", what) for what in ("catalog", f"connection/{self._prefix}-private")]
        return [
            *run_in_vpc(account),
            *read(self._buckets.raw),
            *read(self._buckets.models, "code"),
            *write(self._buckets.datasets, delete=True),
            self._keys.use(["raw", "datasets", "models", "operations"]),
            write_logs(account, "/aws-glue/"),
            publish_metrics(METRICS_NAMESPACE, "Glue"),
            allow("UseConnection", ["glue:GetConnection"], connection),
            allow("SeeEncryption", ["glue:GetSecurityConfiguration"], ["*"]),  # has no resource
            allow("ReadDocuments", ACTIONS["textract"], ["*"]),
            allow("ReadLanguage", ACTIONS["comprehend"], ["*"]),
        ]

    def _labeling(self) -> list[Statement]:
        return [
            *read(self._buckets.raw, "documents"),
            *write(self._buckets.raw, "labels"),
            *write(self._buckets.captures, "reviews"),
            self._keys.use(["raw", "captures"]),
            write_logs(self._account, "/aws/sagemaker/LabelingJobs"),
            publish_metrics("/aws/sagemaker/LabelingJobs"),
        ]

    def _tracking(self) -> list[Statement]:
        group = self._account.arn("sagemaker", f"model-package-group/{self._prefix}")
        versions = self._account.arn("sagemaker", f"model-package/{self._prefix}/*")
        calls = ("CreateModelPackage", "DescribeModelPackageGroup", "UpdateModelPackage", "AddTags")
        return [
            *write(self._buckets.models, "mlflow", delete=True),
            self._keys.use(["models"]),
            allow("RegisterModels", [f"sagemaker:{call}" for call in calls], [group, versions]),
        ]

    def _pipeline(self) -> list[Statement]:
        account, prefix = self._account, self._prefix
        kinds = ("training-job", "processing-job", "transform-job", "model", "pipeline")
        jobs = [account.arn("sagemaker", f"{kind}/*") for kind in kinds]
        run = ["CreateTrainingJob", "CreateProcessingJob", "CreateModel", "DescribeTrainingJob", "DescribeProcessingJob", "DescribeModel"]
        stop = ["StopTrainingJob", "StopProcessingJob", "AddTags", "UpdateTrainingJob"]
        group = [account.arn("sagemaker", f"model-package-group/{prefix}"), account.arn("sagemaker", f"model-package/{prefix}/*")]
        return [
            allow("RunJobs", [f"sagemaker:{call}" for call in (*run, *stop)], jobs),
            allow("Register", ["sagemaker:CreateModelPackage", "sagemaker:DescribeModelPackageGroup"], group),
            allow("RunGlue", ["glue:StartJobRun", "glue:GetJobRun", "glue:BatchStopJobRun"], [account.arn("glue", f"job/{prefix}-*")]),
            # how SageMaker learns that a job of a step has ended
            allow(
                "WatchJobs",
                ["events:PutRule", "events:PutTargets", "events:DescribeRule"],
                [account.arn("events", "rule/SageMakerPipelineExecution*")],
            ),
            *write(self._buckets.datasets, "pipelines"),
            self._keys.use(["datasets"]),
            pass_role([self._name_arn(role) for role in ("preprocess", "train", "serve", "monitor")], "sagemaker"),
        ]

    def _schedule(self) -> list[Statement]:
        jobs = [self._account.arn("sagemaker", "processing-job/*")]
        return [
            self._start_pipeline(),
            allow("RunMonitor", ["sagemaker:CreateProcessingJob", "sagemaker:AddTags"], jobs),
            pass_role([self._name_arn("monitor")], "sagemaker"),
            self._keys.use(["operations"]),  # a schedule is kept encrypted
        ]

    def _start_pipeline(self) -> Statement:
        return allow("Start", ["sagemaker:StartPipelineExecution"], [self._account.arn("sagemaker", f"pipeline/{self._prefix}")])

    def _name_arn(self, purpose: str) -> str:
        return self._account.arn("iam", f"role/{self._prefix}-{purpose}", region="")
