"""Roles for GitHub Actions, taken by a token of the workflow: no key is stored anywhere."""

from cdktn_provider_aws.iam_openid_connect_provider import IamOpenidConnectProvider
from cdktn_provider_aws.iam_role import IamRole
from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.keys import Keys
from llmops_infra.permissions import READ_OBJECTS, WRITE_OBJECTS, find, places
from llmops_infra.policy import Statement, allow, pass_role
from llmops_infra.role import role_with
from llmops_infra.settings import GitHub
from llmops_infra.stack import Account, state_bucket, state_key
from llmops_infra.storage import Buckets

HOST = "token.actions.githubusercontent.com"

# what `terraform plan` reads: how things are set up, never what is in them
LOOK = (
    "application-autoscaling:Describe*", "application-autoscaling:ListTagsForResource", "aoss:BatchGet*", "aoss:Get*", "aoss:List*",
    "budgets:ViewBudget", "budgets:ListTagsForResource", "cloudformation:DescribeStacks", "cloudformation:GetTemplate",
    "cloudwatch:Describe*", "cloudwatch:GetDashboard", "cloudwatch:ListTagsForResource",
    "cognito-idp:Describe*", "cognito-idp:GetGroup", "cognito-idp:GetUserPoolMfaConfig", "ec2:Describe*", "ecr:Describe*",
    "ecr:GetLifecyclePolicy", "ecr:ListTagsForResource", "events:Describe*", "events:List*", "fsx:Describe*", "fsx:ListTagsForResource",
    "glue:GetConnection", "glue:GetJob", "glue:GetSecurityConfiguration", "glue:GetTags", "iam:GetOpenIDConnectProvider", "iam:GetRole",
    "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "kendra:Describe*", "kendra:ListTagsForResource",
    "kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListAliases", "kms:ListResourceTags", "logs:Describe*",
    "logs:ListTagsForResource", "rds:Describe*", "rds:ListTagsForResource", "s3:GetAccelerateConfiguration", "s3:GetBucket*",
    "s3:GetEncryptionConfiguration", "s3:GetInventoryConfiguration", "s3:GetLifecycleConfiguration", "s3:GetMetricsConfiguration",
    "s3:GetReplicationConfiguration", "sagemaker:Describe*", "sagemaker:ListTags", "scheduler:GetSchedule", "scheduler:GetScheduleGroup",
    "scheduler:ListTagsForResource", "sns:GetSubscriptionAttributes", "sns:GetTopicAttributes", "sns:ListTagsForResource",
    "ssm:DescribeParameters", "ssm:ListTagsForResource",
)  # fmt: skip


class GitHubRoles(Construct):
    """One role that deploys from this environment's GitHub environment, one that only looks, for pull requests."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        settings: GitHub,
        account: Account,
        keys: Keys,
        buckets: Buckets,
        serve_role_arn: str,
    ) -> None:
        super().__init__(scope, name)
        self._environment, self._account, self._keys, self._buckets = environment, account, keys, buckets
        self._provider_arn = account.arn("iam", f"oidc-provider/{HOST}", region="")
        if not settings.provider_exists:
            provider = IamOpenidConnectProvider(self, "provider", url=f"https://{HOST}", client_id_list=["sts.amazonaws.com"])
            self._provider_arn = provider.arn
        repository = settings.repository
        deploy = [*self._use_state(write=True), *self._push_images(), *self._deploy_endpoint(serve_role_arn), *self._run_pipeline()]
        deploy += self._promote()
        look = [*self._use_state(write=False), allow("Look", LOOK, ["*"])]
        self.deploy = self._role("deploy", f"repo:{repository}:environment:{environment.name}", deploy)
        self.plan = self._role("plan", f"repo:{repository}:pull_request", look)

    def _role(self, purpose: str, subject: str, statements: list[Statement]) -> IamRole:
        # without both conditions any repository on GitHub could take the role
        bound = {"StringEquals": {f"{HOST}:aud": "sts.amazonaws.com", f"{HOST}:sub": subject}}
        provider = {"Federated": self._provider_arn}
        trust = allow("WorkflowOnly", ["sts:AssumeRoleWithWebIdentity"], conditions=bound, principal=provider)
        return role_with(self, purpose, role_name=f"{self._environment.prefix}-github-{purpose}", trust=trust, statements=statements)

    def _use_state(self, write: bool) -> list[Statement]:
        bucket = self._account.arn("s3", state_bucket(self._environment, self._account), region="", account="")
        folder = state_key(self._environment, "*").removesuffix(".tfstate")
        calls = ["s3:GetObject", *(["s3:PutObject", "s3:DeleteObject"] if write else [])]
        # the lock file lies beside the state; a plan that may not write it runs with -lock=false
        return [
            allow("FindState", ["s3:ListBucket"], [bucket], {"StringLike": {"s3:prefix": [folder]}}),
            allow("UseState", calls, [f"{bucket}/{folder}"]),
        ]

    def _push_images(self) -> list[Statement]:
        push = ["BatchCheckLayerAvailability", "BatchGetImage", "CompleteLayerUpload", "DescribeImages", "InitiateLayerUpload"]
        push.append("DescribeImageScanFindings")
        calls = [f"ecr:{call}" for call in (*push, "PutImage", "UploadLayerPart", "GetDownloadUrlForLayer")]
        return [
            allow("PushImages", calls, [self._account.arn("ecr", f"repository/{self._environment.prefix}/*")]),
            allow("EnterRegistry", ["ecr:GetAuthorizationToken"], ["*"]),  # has no resource
        ]

    def _deploy_endpoint(self, serve_role_arn: str) -> list[Statement]:
        account, prefix = self._account, self._environment.prefix
        things = [account.arn("sagemaker", f"{kind}/*") for kind in ("model", "endpoint", "endpoint-config")]
        kinds = ("Model", "Endpoint", "EndpointConfig")
        made_here = {"StringEquals": {"aws:RequestTag/Environment": self._environment.name}}
        ours = {"StringEquals": {"aws:ResourceTag/Environment": self._environment.name}}
        alarms = ("PutMetricAlarm", "DeleteAlarms", "TagResource", "UntagResource", "ListTagsForResource")
        dashboards = [account.arn("cloudwatch", f"dashboard/{prefix}-*", region="")]
        scaling = ["RegisterScalableTarget", "DeregisterScalableTarget", "PutScalingPolicy", "DeleteScalingPolicy"]
        schedule = ["PutScheduledAction", "DeleteScheduledAction", "TagResource", "UntagResource"]
        return [
            allow("MakeEndpoint", [*(f"sagemaker:Create{kind}" for kind in kinds), "sagemaker:AddTags"], things, made_here),
            allow("ChangeEndpoint", ["sagemaker:UpdateEndpoint", *(f"sagemaker:Delete{kind}" for kind in kinds)], things, ours),
            allow("SeeEndpoint", [*(f"sagemaker:Describe{kind}" for kind in kinds), "sagemaker:ListTags"], things),
            allow(
                "Scale",
                [f"application-autoscaling:{call}" for call in (*scaling, *schedule)],
                [account.arn("application-autoscaling", "scalable-target/*")],
            ),
            allow("SeeScaling", ["application-autoscaling:Describe*", "application-autoscaling:ListTagsForResource"], ["*"]),
            allow(
                "Alarms",
                [f"cloudwatch:{call}" for call in alarms],
                [account.arn("cloudwatch", f"alarm:{prefix}-*")],
            ),
            allow("SeeAlarms", ["cloudwatch:DescribeAlarms"], ["*"]),
            allow("SeeImages", ["ecr:DescribeRepositories", "ecr:DescribeImages"], [account.arn("ecr", "repository/*", account="*")]),
            allow("Dashboard", ["cloudwatch:PutDashboard", "cloudwatch:DeleteDashboards", "cloudwatch:GetDashboard"], dashboards),
            self._keys.lend(["captures"]),
            pass_role([serve_role_arn], "sagemaker"),
        ]

    def _run_pipeline(self) -> list[Statement]:
        prefix = self._environment.prefix
        pipelines = [self._account.arn("sagemaker", f"pipeline/{prefix}"), self._account.arn("sagemaker", f"pipeline/{prefix}/*")]
        calls = ("StartPipelineExecution", "DescribePipeline", "DescribePipelineExecution", "ListPipelineExecutionSteps")
        return [allow("RunPipeline", [f"sagemaker:{call}" for call in calls], pipelines)]

    def _promote(self) -> list[Statement]:
        """What drift, promotion and rollback read and write: traffic, reports and Endpoint documents; no weights, no raw text."""
        captures, models = self._buckets.captures, self._buckets.models
        return [
            find(captures, ["exchanges", "reports"]),
            allow("ReadTraffic", READ_OBJECTS, places(captures, ["exchanges"])),
            allow("WriteReports", WRITE_OBJECTS, places(captures, ["reports"])),
            find(models, ["endpoints"]),
            allow("WriteEndpoints", WRITE_OBJECTS, places(models, ["endpoints"])),
            self._keys.use(["captures", "models"]),
            allow("TellOfDrift", ["events:PutEvents"], [self._account.arn("events", "event-bus/default")]),
        ]
