"""What watches the platform: its dashboard, alarms on S3 and the file system, the drift rule, the budget."""

import json

from cdktn_provider_aws.budgets_budget import BudgetsBudget, BudgetsBudgetCostFilter, BudgetsBudgetNotification
from cdktn_provider_aws.cloudwatch_dashboard import CloudwatchDashboard
from cdktn_provider_aws.cloudwatch_event_rule import CloudwatchEventRule
from cdktn_provider_aws.cloudwatch_event_target import (
    CloudwatchEventTarget,
    CloudwatchEventTargetSagemakerPipelineTarget,
    CloudwatchEventTargetSagemakerPipelineTargetPipelineParameterListStruct,
)
from cdktn_provider_aws.cloudwatch_metric_alarm import CloudwatchMetricAlarm
from constructs import Construct

from llmops_infra.bucket import Bucket
from llmops_infra.config import Environment
from llmops_infra.dashboard import Widget, body, found, graph
from llmops_infra.storage import Buckets, Lustre
from llmops_shared.contracts.platform import ACTION_VERDICTS, DRIFT_EVENT_SOURCE, DRIFT_EVENT_TYPE, METRICS_NAMESPACE

# an eighth free is where Lustre begins to place new files badly
MIN_FREE_SHARE = 0.125


class Monitoring(Construct):
    """Dashboard, alarms, drift rule and budget of an environment."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        buckets: Buckets,
        lustre: Lustre | None,
        topic_arn: str,
        pipeline_arn: str | None,
        events_role_arn: str,
    ) -> None:
        super().__init__(scope, name)
        self._environment, self._topic_arn = environment, topic_arn
        widgets = [*self._storage_widgets(buckets, lustre), *self._work_widgets()]
        CloudwatchDashboard(self, "dashboard", dashboard_name=f"{environment.prefix}-platform", dashboard_body=body(widgets))
        for bucket in buckets.all():
            for prefix in bucket.contents.prefixes:
                self._alarm_on_slow_down(bucket, prefix)
        if lustre:
            self._alarm_on_full(lustre)
        self._act_on_drift(pipeline_arn, events_role_arn)
        self._watch_cost()

    def _storage_widgets(self, buckets: Buckets, lustre: Lustre | None) -> list[Widget]:
        region = self._environment.region

        def per_prefix(metric: str) -> list[list[str]]:
            places = [(bucket.name, prefix) for bucket in buckets.all() for prefix in bucket.contents.prefixes]
            return [["AWS/S3", metric, "BucketName", bucket, "FilterId", prefix] for bucket, prefix in places]

        widgets = [
            graph("S3 requests per prefix", per_prefix("AllRequests"), region, "Sum", 60),
            graph("S3 errors (503: slow down)", per_prefix("5xxErrors"), region, "Sum", 60),
            graph("S3 bytes read", per_prefix("BytesDownloaded"), region, "Sum", 60),
            graph("S3 first byte, ms", per_prefix("FirstByteLatency"), region, "p99", 60),
        ]
        if lustre:
            of = ["FileSystemId", lustre.file_system.id]
            moved = [["AWS/FSx", name, *of] for name in ("DataReadBytes", "DataWriteBytes")]
            widgets += [
                graph("File system bytes", moved, region, "Sum", 60),
                graph("File system free bytes", [["AWS/FSx", "FreeDataStorageCapacity", *of]], region, "Sum", 60),
            ]
        return widgets

    def _work_widgets(self) -> list[Widget]:
        region, name = self._environment.region, self._environment.name
        charges = ["AWS/Billing", "EstimatedCharges", "Currency", "USD"]
        jobs, quality = "{/aws/sagemaker/TrainingJobs,Host}", f'{{{METRICS_NAMESPACE},Environment,Endpoint}} Environment="{name}"'
        return [
            found("Training: GPU use, %", f'{jobs} MetricName="GPUUtilization"', region),
            found("Training: GPU memory, %", f'{jobs} MetricName="GPUMemoryUtilization"', region),
            found("Training: memory, %", f'{jobs} MetricName="MemoryUtilization"', region),
            found("Training: disk, %", f'{jobs} MetricName="DiskUtilization"', region),
            found("Preprocessing: Glue workers", '{Glue,JobName,JobRunId,Type} MetricName="glue.driver.workerUtilization"', region),
            found("Answer quality, 0 to 1", quality, region),
            found("Traffic and its drift, as our monitor sees it", f"{{{METRICS_NAMESPACE},EndpointName}}", region),
            # AWS publishes its estimate there and nowhere else
            graph(
                "Charges of the account this month, USD",
                [charges],
                "us-east-1",
                "Maximum",
                21600,
            ),
        ]

    def _alarm_on_slow_down(self, bucket: Bucket, prefix: str) -> None:
        purpose = bucket.node.id
        CloudwatchMetricAlarm(
            self,
            f"{purpose}-{prefix}-503",
            alarm_name=f"{self._environment.prefix}-s3-{purpose}-{prefix}-503",
            alarm_description=f"S3 answers 503 (slow down) under {purpose}/{prefix}/: spread the keys over more prefixes or ask less often",
            namespace="AWS/S3",
            # S3 counts 503 among the 5xx and no finer; 500 is rare
            metric_name="5xxErrors",
            dimensions={"BucketName": bucket.name, "FilterId": prefix},
            statistic="Sum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=self._environment.storage.max_errors_503,
            treat_missing_data="notBreaching",
            alarm_actions=[self._topic_arn],
            ok_actions=[self._topic_arn],
        )

    def _alarm_on_full(self, lustre: Lustre) -> None:
        size_bytes = lustre.size_gib * 2**30
        CloudwatchMetricAlarm(
            self,
            "file-system-full",
            alarm_name=f"{self._environment.prefix}-fsx-full",
            alarm_description="The file system is nearly full: release files that are in the bucket, or raise storage.fsx.size_gib",
            namespace="AWS/FSx",
            metric_name="FreeDataStorageCapacity",
            dimensions={"FileSystemId": lustre.file_system.id},
            statistic="Sum",
            period=60,
            evaluation_periods=15,
            comparison_operator="LessThanThreshold",
            threshold=int(size_bytes * MIN_FREE_SHARE),
            treat_missing_data="missing",
            alarm_actions=[self._topic_arn],
            ok_actions=[self._topic_arn],
        )

    def _act_on_drift(self, pipeline_arn: str | None, role_arn: str) -> None:
        pattern = {
            "source": [DRIFT_EVENT_SOURCE],
            "detail-type": [DRIFT_EVENT_TYPE],
            "detail": {"environment": [self._environment.name], "verdict": list(ACTION_VERDICTS)},
        }
        rule = CloudwatchEventRule(
            self,
            "drift",
            name=f"{self._environment.prefix}-drift",
            description="A report of the monitor asks for something to be done: drift, a rollback or an alarm",
            event_pattern=json.dumps(pattern),
        )
        CloudwatchEventTarget(self, "tell", rule=rule.name, target_id="tell", arn=self._topic_arn)
        if pipeline_arn:
            # the id of the event names the execution: an event that is delivered twice starts nothing new
            run = CloudwatchEventTargetSagemakerPipelineTargetPipelineParameterListStruct(name="Run", value="$.id")
            CloudwatchEventTarget(
                self,
                "retrain",
                rule=rule.name,
                target_id="retrain",
                arn=pipeline_arn,
                role_arn=role_arn,
                sagemaker_pipeline_target=CloudwatchEventTargetSagemakerPipelineTarget(pipeline_parameter_list=[run]),
            )

    def _watch_cost(self) -> None:
        environment = self._environment
        BudgetsBudget(
            self,
            "budget",
            name=environment.prefix,
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=str(environment.max_monthly_usd),
            limit_unit="USD",
            # counts once `Project` and `Environment` are activated as cost allocation tags
            cost_filter=[BudgetsBudgetCostFilter(name="TagKeyValue", values=[f"user:Environment${environment.name}"])],
            notification=[
                BudgetsBudgetNotification(
                    notification_type="ACTUAL" if percent < 100 else "FORECASTED",
                    comparison_operator="GREATER_THAN",
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                    subscriber_sns_topic_arns=[self._topic_arn],
                )
                for percent in environment.monitoring.budget_warnings
            ],
        )
