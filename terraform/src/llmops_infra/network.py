"""The private network: subnets in the zones that have the instances, closed groups, private ways to AWS, flow logs."""

import ipaddress
from collections.abc import Sequence

from cdktn import Precondition, TerraformLocal, TerraformResourceLifecycle
from cdktn_provider_aws.cloudwatch_log_group import CloudwatchLogGroup
from cdktn_provider_aws.data_aws_ec2_instance_type_offerings import DataAwsEc2InstanceTypeOfferings, DataAwsEc2InstanceTypeOfferingsFilter
from cdktn_provider_aws.default_security_group import DefaultSecurityGroup
from cdktn_provider_aws.flow_log import FlowLog
from cdktn_provider_aws.placement_group import PlacementGroup
from cdktn_provider_aws.route_table import RouteTable
from cdktn_provider_aws.route_table_association import RouteTableAssociation
from cdktn_provider_aws.subnet import Subnet
from cdktn_provider_aws.vpc import Vpc
from constructs import Construct

from llmops_infra.config import NUM_BLOCKS_BITS, Environment
from llmops_infra.hardware import ec2_type
from llmops_infra.nat import Nat
from llmops_infra.policy import allow
from llmops_infra.private_access import PrivateAccess
from llmops_infra.role import service_role
from llmops_infra.security_groups import SecurityGroups
from llmops_infra.stack import Account


class Network(Construct):
    """VPC, private subnets, security groups and private endpoints."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, account: Account, log_key_arn: str) -> None:
        super().__init__(scope, name)
        self._prefix = environment.prefix
        settings = environment.network
        zones = self._zones_with([environment.training.instance_type, environment.serving.hosting.instance_type])
        enough = Precondition(
            condition=f"${{length({zones.fqn}) >= {settings.num_zones}}}",
            error_message=f"Too few zones of {environment.region} offer the instance types of training and serving for network.num_zones = "
            f"{settings.num_zones}: lower it or choose other types.",
        )
        self.vpc = Vpc(
            self,
            "vpc",
            cidr_block=settings.cidr,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags=self._named("vpc"),
            lifecycle=TerraformResourceLifecycle(precondition=[enough]),
        )
        DefaultSecurityGroup(self, "closed", vpc_id=self.vpc.id, ingress=[], egress=[], tags=self._named("closed"))
        self.route_table = RouteTable(self, "private", vpc_id=self.vpc.id, tags=self._named("private"))
        blocks = list(ipaddress.IPv4Network(settings.cidr).subnets(NUM_BLOCKS_BITS))
        self.subnets = [self._private_subnet(number, str(blocks[number]), zones) for number in range(settings.num_zones)]
        if settings.nat:
            Nat(self, "nat", vpc_id=self.vpc.id, cidr=str(blocks[-1]), zone=zone_of(zones, 0), route_table_id=self.route_table.id)
        self.groups = SecurityGroups(self, "groups", environment=environment, vpc_id=self.vpc.id)
        PrivateAccess(
            self,
            "access",
            environment=environment,
            account=account,
            vpc_id=self.vpc.id,
            route_table_id=self.route_table.id,
            subnet_ids=self.subnet_ids[: settings.endpoint_zones],
            groups=self.groups,
        )
        # close together for the least latency between the instances of a cluster
        self.placement_group = PlacementGroup(self, "cluster", name=f"{environment.prefix}-cluster", strategy="cluster")
        self._log_flows(environment, account, log_key_arn)

    @property
    def subnet_ids(self) -> list[str]:
        """Ids of the private subnets, one a zone."""
        return [subnet.id for subnet in self.subnets]

    def _named(self, name: str) -> dict[str, str]:
        return {"Name": f"{self._prefix}-{name}"}

    def _zones_with(self, instance_types: Sequence[str]) -> TerraformLocal:
        """The zones, in alphabetical order, that offer every one of the instance types."""
        offered = []
        for instance_type in dict.fromkeys(ec2_type(name) for name in instance_types):
            offer = DataAwsEc2InstanceTypeOfferings(
                self,
                f"offer-{instance_type.replace('.', '-')}",
                location_type="availability-zone",
                filter=[DataAwsEc2InstanceTypeOfferingsFilter(name="instance-type", values=[instance_type])],
            )
            offered.append(f"{offer.fqn}.locations")
        return TerraformLocal(self, "zones", f"${{sort(setintersection({', '.join(offered)}))}}")

    def _private_subnet(self, number: int, cidr: str, zones: TerraformLocal) -> Subnet:
        subnet = Subnet(
            self,
            f"private-{number}",
            vpc_id=self.vpc.id,
            cidr_block=cidr,
            availability_zone=zone_of(zones, number),
            map_public_ip_on_launch=False,
            tags=self._named(f"private-{number}"),
            # an instance type that comes to another zone moves the list; a subnet with a database in it stays where it is
            lifecycle=TerraformResourceLifecycle(ignore_changes=["availability_zone"]),
        )
        RouteTableAssociation(self, f"private-{number}-route", subnet_id=subnet.id, route_table_id=self.route_table.id)
        return subnet

    def _log_flows(self, environment: Environment, account: Account, log_key_arn: str) -> None:
        group = CloudwatchLogGroup(
            self,
            "flows",
            name=f"/{environment.project}/{environment.name}/flows",
            retention_in_days=environment.network.flow_log_days,
            kms_key_id=log_key_arn,
        )
        write = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        role = service_role(
            self,
            "flow-log-role",
            role_name=f"{environment.prefix}-flow-logs",
            account=account,
            services=["vpc-flow-logs"],
            statements=[allow("WriteFlowLogs", write, [f"{group.arn}:*"]), allow("FindGroup", ["logs:DescribeLogGroups"], ["*"])],
        )
        FlowLog(
            self,
            "flow-log",
            vpc_id=self.vpc.id,
            traffic_type="ALL",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=60,
        )


def zone_of(zones: TerraformLocal, number: int) -> str:
    """One of the zones. `element` starts over at the end, so that too few zones fail by the VPC's precondition, which says why."""
    return f"${{element({zones.fqn}, {number})}}"
