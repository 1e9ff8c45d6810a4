"""The platform: what is slow to make and holds data."""

from pathlib import Path
from typing import Any

from constructs import Construct

from llmops_infra.alerts import Alerts
from llmops_infra.config import Environment
from llmops_infra.github import GitHubRoles
from llmops_infra.identity import Identity
from llmops_infra.keys import Keys
from llmops_infra.monitoring import Monitoring
from llmops_infra.network import Network
from llmops_infra.outputs import write_outputs
from llmops_infra.pipeline import Pipeline, serving_image
from llmops_infra.pipeline_definition import Places
from llmops_infra.pipeline_steps import Place, parameter
from llmops_infra.preprocessing import Preprocessing
from llmops_infra.registry import Registry
from llmops_infra.schedule import CREATE_PROCESSING_JOB, START_PIPELINE, Schedules, monitor_job, start_execution
from llmops_infra.stack import Stack
from llmops_infra.storage import DATASETS_PATH, Buckets, Lustre
from llmops_infra.tracking import Tracking


class PlatformStack(Stack):
    """Network, storage, identity, registry, tracking, jobs, retrieval, people, monitoring."""

    def __init__(self, scope: Construct, *, environment: Environment, out: Path) -> None:
        super().__init__(scope, "platform", environment=environment, out=out)
        account = self.account
        self.keys = Keys(self, "keys", environment=environment, account=account)
        self.network = Network(self, "network", environment=environment, account=account, log_key_arn=self.keys.arn("operations"))
        self.buckets = Buckets(self, "storage", environment=environment, account=account, keys=self.keys)
        self.identity = Identity(self, "identity", environment=environment, account=account, buckets=self.buckets, keys=self.keys)
        self.registry = Registry(self, "registry", environment=environment, key_arn=self.keys.arn("operations"))
        self.tracking = Tracking(
            self,
            "tracking",
            environment=environment,
            artifacts_uri=self.buckets.models.uri("mlflow"),
            role_arn=self.identity.tracking.arn,
        )
        self.preprocessing = Preprocessing(
            self,
            "preprocessing",
            environment=environment,
            network=self.network,
            keys=self.keys,
            code_uri=self.buckets.models.uri("code"),
            role_arn=self.identity.glue.arn,
        )
        self.alerts = Alerts(self, "alerts", environment=environment, account=account, key_arn=self.keys.arn("operations"))
        # each of these is there only where it is switched on, and an output is null where it is not
        self.switched: dict[str, Any] = {
            **self._file_system(),
            **self._pipeline(),
            **self._retrieval(),
            **self._people(),
            **self._github(),
        }
        self._schedule()
        Monitoring(
            self,
            "monitoring",
            environment=environment,
            buckets=self.buckets,
            lustre=self.lustre,
            topic_arn=self.alerts.topic.arn,
            pipeline_arn=self.pipeline.pipeline.arn if self.pipeline and environment.pipeline.starts_by_itself else None,
            events_role_arn=self.identity.events.arn,
        )
        write_outputs(self, {**self._always(), **self.switched})

    def _file_system(self) -> dict[str, Any]:
        self.lustre: Lustre | None = None
        if not (settings := self.environment.storage.fsx):
            return {"file_system": None}
        self.lustre = Lustre(
            self,
            "lustre",
            environment=self.environment,
            settings=settings,
            subnet_id=self.network.subnet_ids[0],
            group_ids=self.network.groups.file_system_ids(efa=self.environment.fsx_efa),
            buckets=self.buckets,
            keys=self.keys,
        )
        made = self.lustre.file_system
        return {"file_system": {"id": made.id, "mount_name": made.mount_name, "datasets_path": DATASETS_PATH}}

    def _pipeline(self) -> dict[str, Any]:
        environment, buckets = self.environment, self.buckets
        self.pipeline: Pipeline | None = None
        if not environment.pipeline.recipes:
            return {"pipeline": None}
        folders = {
            "raw": buckets.raw.uri("documents"),
            "datasets": buckets.datasets.uri("datasets"),
            "indexes": buckets.datasets.uri("indexes"),
            "runs": buckets.checkpoints.uri("runs"),
            "packages": buckets.models.uri("packages"),
            "endpoints": buckets.models.uri("endpoints"),
            "exchanges": buckets.captures.uri("exchanges"),
        }
        places = Places(
            folders=folders,
            repositories=self.registry.urls(),
            serving_image=serving_image(self, environment),
            model_group=self.registry.models.model_package_group_name,
        )
        place = Place(
            environment={
                "AWS_DEFAULT_REGION": environment.region,  # a processing container is not told its region
                "MLFLOW_TRACKING_URI": self.tracking.uri,
                "MLFLOW_EXPERIMENT_NAME": environment.prefix,
                "LLMOPS_PIPELINE_RUN": parameter("Run"),
            },
            subnet_ids=self.network.subnet_ids,
            group_ids=self.network.groups.job_ids,
            role_arns={"preprocess": self.identity.preprocess.arn, "train": self.identity.train.arn},
            key_arns={"preprocess": self.keys.arn("datasets"), "train": self.keys.arn("checkpoints")},
            cache_days=environment.pipeline.cache_days,
            tags={"Project": environment.project, "Environment": environment.name},
        )
        self.pipeline = Pipeline(
            self,
            "pipeline",
            environment=environment,
            places=places,
            place=place,
            role_arn=self.identity.pipeline.arn,
            topic_arn=self.alerts.topic.arn,
        )
        return {"pipeline": self.pipeline.pipeline.pipeline_name}

    def _retrieval(self) -> dict[str, Any]:
        environment, account, wanted = self.environment, self.account, self.environment.retrieval
        made: dict[str, Any] = {"opensearch_endpoint": None, "pgvector_host": None, "kendra_index_id": None}
        # the bindings of what is switched off would only cost time to load
        if wanted.opensearch:
            from llmops_infra.opensearch import VectorCollection

            vectors = VectorCollection(
                self,
                "opensearch",
                environment=environment,
                settings=wanted.opensearch,
                network=self.network,
                key_arn=self.keys.arn("datasets"),
                writers=[self.identity.preprocess.arn],
                readers=[self.identity.serve.arn, self.identity.monitor.arn],
            )
            made["opensearch_endpoint"] = vectors.collection.collection_endpoint
        if wanted.pgvector:
            from llmops_infra.aurora import Aurora

            aurora = Aurora(
                self,
                "pgvector",
                environment=environment,
                settings=wanted.pgvector,
                account=account,
                network=self.network,
                data_key_arn=self.keys.arn("datasets"),
                operations_key_arn=self.keys.arn("operations"),
            )
            made["pgvector_host"] = aurora.cluster.endpoint
        if wanted.kendra:
            from llmops_infra.kendra import DocumentIndex

            documents = DocumentIndex(
                self, "kendra", environment=environment, settings=wanted.kendra, account=account, buckets=self.buckets, keys=self.keys
            )
            made["kendra_index_id"] = documents.index.id
        return made

    def _people(self) -> dict[str, Any]:
        environment, wanted = self.environment, self.environment.people
        made: dict[str, Any] = {"workteam_arn": None, "flow_definition_arn": None}
        if wanted.workforce:
            from llmops_infra.people import ReviewFlow, Workforce

            workforce = Workforce(
                self,
                "people",
                environment=environment,
                account=self.account,
                buckets=self.buckets,
                topic_arn=self.alerts.topic.arn,
                key_arn=self.keys.arn("raw"),
            )
            made["workteam_arn"] = workforce.team.arn
            if wanted.a2i:
                review = ReviewFlow(
                    self,
                    "review",
                    environment=environment,
                    team_arn=workforce.team.arn,
                    role_arn=self.identity.labeling.arn,
                    output_uri=self.buckets.captures.uri("reviews"),
                    key_arn=self.keys.arn("captures"),
                )
                made["flow_definition_arn"] = review.flow.arn
        return made

    def _github(self) -> dict[str, Any]:
        if not (settings := self.environment.github):
            return {"github_role_arns": None}
        roles = GitHubRoles(
            self,
            "github",
            environment=self.environment,
            settings=settings,
            account=self.account,
            keys=self.keys,
            buckets=self.buckets,
            serve_role_arn=self.identity.serve.arn,
        )
        return {"github_role_arns": {"deploy": roles.deploy.arn, "plan": roles.plan.arn}}

    def _schedule(self) -> None:
        environment, identity, operations = self.environment, self.identity, self.keys.arn("operations")
        schedules = Schedules(self, "schedules", environment=environment, role_arn=identity.schedule.arn, key_arn=operations)
        if environment.pipeline.schedule and self.pipeline:
            request = start_execution(self.pipeline.pipeline.pipeline_name)
            schedules.start("pipeline", at=environment.pipeline.schedule, target_arn=START_PIPELINE, request=request)
        if environment.monitoring.schedule:
            request = monitor_job(
                environment,
                image=self.registry.urls()["monitor"],
                role_arn=identity.monitor.arn,
                tracking_uri=self.tracking.uri,
                reports_uri=self.buckets.captures.uri("reports"),
                key_arn=self.keys.arn("captures"),
                subnets=self.network.subnet_ids,
                groups=self.network.groups.job_ids,
            )
            schedules.start("monitor", at=environment.monitoring.schedule, target_arn=CREATE_PROCESSING_JOB, request=request)

    def _always(self) -> dict[str, Any]:
        environment, buckets, training = self.environment, self.buckets, self.environment.training
        return {
            "environment": environment.name,
            "region": environment.region,
            "vpc_id": self.network.vpc.id,
            "subnet_ids": self.network.subnet_ids,
            "job_security_group_ids": self.network.groups.job_ids,
            "placement_group": self.network.placement_group.name,
            "raw_uri": buckets.raw.uri("documents"),
            "labels_uri": buckets.raw.uri("labels"),
            "datasets_uri": buckets.datasets.uri("datasets"),
            "indexes_uri": buckets.datasets.uri("indexes"),
            "checkpoints_uri": buckets.checkpoints.uri("checkpoints"),
            "runs_uri": buckets.checkpoints.uri("runs"),
            "packages_uri": buckets.models.uri("packages"),
            "endpoints_uri": buckets.models.uri("endpoints"),
            "code_uri": buckets.models.uri("code"),
            "exchanges_uri": buckets.captures.uri("exchanges"),
            "reports_uri": buckets.captures.uri("reports"),
            "key_arns": self.keys.arns(),
            "role_arns": self.identity.arns(),
            "repository_urls": self.registry.urls(),
            "tracking_uri": self.tracking.uri,
            "model_package_group": self.registry.models.model_package_group_name,
            "glue_job": self.preprocessing.job.name,
            "training": {
                "instance_type": training.instance_type,
                "num_instances": training.num_instances,
                "efa": environment.training_efa,
                "spot": training.spot,
                "warm_pool_s": training.warm_pool_s,
                "max_runtime_s": training.max_runtime_s,
                "max_wait_s": training.max_wait_s,
            },
            "alarm_topic_arn": self.alerts.topic.arn,
        }
