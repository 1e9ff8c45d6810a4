"""Who may talk to whom inside the VPC. A group is closed but for the rules written here."""

from cdktn_provider_aws.security_group import SecurityGroup
from cdktn_provider_aws.vpc_security_group_egress_rule import VpcSecurityGroupEgressRule
from cdktn_provider_aws.vpc_security_group_ingress_rule import VpcSecurityGroupIngressRule
from constructs import Construct

from llmops_infra.config import Environment

HTTPS = (443, 443)
# docs.aws.amazon.com/fsx/latest/LustreGuide/limit-access-security-groups.html
LUSTRE_PORTS = ((988, 988), (1018, 1023))
POSTGRESQL = (5432, 5432)


class SecurityGroups(Construct):
    """Groups of jobs, EFA traffic, file system, private endpoints and database."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, vpc_id: str) -> None:
        super().__init__(scope, name)
        self._prefix, self._vpc_id = environment.prefix, vpc_id
        self.jobs = self._group("jobs", "Training, processing and inference")
        self.efa = self._group("efa", "Traffic between the instances of one job")
        self.fsx = self._group("fsx", "FSx for Lustre")
        self.endpoints = self._group("endpoints", "Private endpoints of AWS services")
        self.database = self._group("database", "Aurora PostgreSQL")
        self._open_efa()
        self._open_lustre()
        self.connect(self.jobs, self.endpoints, HTTPS, "AWS services")
        self.connect(self.jobs, self.database, POSTGRESQL, "Retrieval")
        if environment.network.nat:
            VpcSecurityGroupEgressRule(
                self,
                "jobs-out",
                security_group_id=self.jobs.id,
                description="Internet, by the NAT gateway",
                cidr_ipv4="0.0.0.0/0",
                ip_protocol="tcp",
                from_port=443,
                to_port=443,
            )

    @property
    def job_ids(self) -> list[str]:
        """The groups a job is in."""
        return [self.jobs.id, self.efa.id]

    def file_system_ids(self, efa: bool) -> list[str]:
        """The groups the file system is in; over EFA it takes part in the traffic of that group, as the jobs do."""
        return [self.fsx.id, *([self.efa.id] if efa else [])]

    def connect(self, source: SecurityGroup, target: SecurityGroup, ports: tuple[int, int], why: str) -> None:
        """Lets `source` open connections to `target`."""
        first, last = ports
        rule = f"{source.node.id}-to-{target.node.id}-{first}"
        # one side alone does nothing: a closed group needs its way out as much as the other its way in
        VpcSecurityGroupEgressRule(
            self,
            f"{rule}-out",
            security_group_id=source.id,
            referenced_security_group_id=target.id,
            description=why,
            ip_protocol="tcp",
            from_port=first,
            to_port=last,
        )
        VpcSecurityGroupIngressRule(
            self,
            f"{rule}-in",
            security_group_id=target.id,
            referenced_security_group_id=source.id,
            description=why,
            ip_protocol="tcp",
            from_port=first,
            to_port=last,
        )

    def _group(self, name: str, what: str) -> SecurityGroup:
        return SecurityGroup(
            self, name, name=f"{self._prefix}-{name}", description=what, vpc_id=self._vpc_id, tags={"Name": f"{self._prefix}-{name}"}
        )

    def _open_efa(self) -> None:
        # EFA is no IP protocol: it needs all protocols to and from the group itself, both ways
        # (docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-start.html#efa-start-security)
        group = self.efa.id
        for way, rule in (("in", VpcSecurityGroupIngressRule), ("out", VpcSecurityGroupEgressRule)):
            rule(
                self,
                f"efa-{way}",
                security_group_id=group,
                referenced_security_group_id=group,
                description="EFA between instances",
                ip_protocol="-1",
            )

    def _open_lustre(self) -> None:
        for ports in LUSTRE_PORTS:
            self.connect(self.fsx, self.fsx, ports, "Lustre between file servers")
            self.connect(self.jobs, self.fsx, ports, "Lustre from clients")
            self.connect(self.fsx, self.jobs, ports, "Lustre to clients")
