"""The alarms that roll a deployment back: latency, errors, and the quality of the answers."""

from cdktn_provider_aws.cloudwatch_metric_alarm import (
    CloudwatchMetricAlarm,
    CloudwatchMetricAlarmMetricQuery,
    CloudwatchMetricAlarmMetricQueryMetric,
)
from constructs import Construct

from llmops_infra.config import Environment
from llmops_shared.contracts.endpoint import Endpoint, Variant
from llmops_shared.contracts.platform import ANSWER_QUALITY, METRICS_NAMESPACE

PERIOD_S = 60


class EndpointAlarms(Construct):
    """Latency and errors per production variant, answer quality of the endpoint; all tell the topic, too."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, endpoint: Endpoint, topic_arn: str) -> None:
        super().__init__(scope, name)
        self._environment, self._endpoint, self._topic_arn = environment, endpoint, topic_arn
        self._settings = environment.serving.deployment
        alarms = [self._quality()]
        for variant in endpoint.production():
            alarms += [self._latency(variant), self._errors(variant)]
        self.names = [alarm.alarm_name for alarm in alarms]

    def _latency(self, variant: Variant) -> CloudwatchMetricAlarm:
        return CloudwatchMetricAlarm(
            self,
            f"{variant.name}-latency",
            alarm_name=self._name(f"{variant.name}-latency"),
            alarm_description="The 95th percentile of the model's latency is too high",
            namespace="AWS/SageMaker",
            metric_name="ModelLatency",
            dimensions=self._of(variant),
            extended_statistic="p95",
            # SageMaker measures it in microseconds
            threshold=self._settings.max_latency_p95_ms * 1000,
            comparison_operator="GreaterThanThreshold",
            period=PERIOD_S,
            evaluation_periods=3,
            datapoints_to_alarm=2,
            treat_missing_data="notBreaching",
            alarm_actions=[self._topic_arn],
        )

    def _errors(self, variant: Variant) -> CloudwatchMetricAlarm:
        def counted(metric: str, name: str) -> CloudwatchMetricAlarmMetricQuery:
            of = CloudwatchMetricAlarmMetricQueryMetric(
                namespace="AWS/SageMaker", metric_name=metric, dimensions=self._of(variant), period=PERIOD_S, stat="Sum"
            )
            return CloudwatchMetricAlarmMetricQuery(id=name, metric=of, return_data=False)

        share = CloudwatchMetricAlarmMetricQuery(
            id="share", expression="100 * errors / requests", label="Errors, % of the requests", return_data=True
        )
        return CloudwatchMetricAlarm(
            self,
            f"{variant.name}-errors",
            alarm_name=self._name(f"{variant.name}-errors"),
            alarm_description="Too many of the answers are errors of the server",
            metric_query=[counted("Invocation5XXErrors", "errors"), counted("Invocations", "requests"), share],
            threshold=self._settings.max_error_percent,
            comparison_operator="GreaterThanThreshold",
            evaluation_periods=3,
            datapoints_to_alarm=2,
            treat_missing_data="notBreaching",
            alarm_actions=[self._topic_arn],
        )

    def _quality(self) -> CloudwatchMetricAlarm:
        return CloudwatchMetricAlarm(
            self,
            "quality",
            alarm_name=self._name("quality"),
            alarm_description="Answers are worse than they may be, as our monitor judges a sample of them",
            namespace=METRICS_NAMESPACE,
            metric_name=ANSWER_QUALITY,
            dimensions={"Environment": self._environment.name, "Endpoint": self._endpoint.name},
            statistic="Average",
            threshold=self._settings.min_answer_quality,
            comparison_operator="LessThanThreshold",
            # judged samples come in more slowly than requests
            period=300,
            evaluation_periods=1,
            treat_missing_data="notBreaching",
            alarm_actions=[self._topic_arn],
        )

    def _name(self, what: str) -> str:
        return f"{self._environment.prefix}-{self._endpoint.name}-{what}"

    def _of(self, variant: Variant) -> dict[str, str]:
        return {"EndpointName": self._endpoint.name, "VariantName": variant.name}
