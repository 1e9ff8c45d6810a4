"""The way out to the internet, where it is switched on: one public subnet with a NAT gateway."""

from cdktn_provider_aws.eip import Eip
from cdktn_provider_aws.internet_gateway import InternetGateway
from cdktn_provider_aws.nat_gateway import NatGateway
from cdktn_provider_aws.route import Route
from cdktn_provider_aws.route_table import RouteTable
from cdktn_provider_aws.route_table_association import RouteTableAssociation
from cdktn_provider_aws.subnet import Subnet
from constructs import Construct


class Nat(Construct):
    """Sends what leaves the private subnets through one gateway."""

    def __init__(self, scope: Construct, name: str, *, vpc_id: str, cidr: str, zone: str, route_table_id: str) -> None:
        super().__init__(scope, name)
        gateway = InternetGateway(self, "internet", vpc_id=vpc_id)
        public = Subnet(self, "public", vpc_id=vpc_id, cidr_block=cidr, availability_zone=zone, map_public_ip_on_launch=False)
        table = RouteTable(self, "routes", vpc_id=vpc_id)
        Route(self, "to-internet", route_table_id=table.id, destination_cidr_block="0.0.0.0/0", gateway_id=gateway.id)
        RouteTableAssociation(self, "public-route", subnet_id=public.id, route_table_id=table.id)
        address = Eip(self, "address", domain="vpc", depends_on=[gateway])
        nat = NatGateway(self, "gateway", allocation_id=address.allocation_id, subnet_id=public.id)
        Route(self, "out", route_table_id=route_table_id, destination_cidr_block="0.0.0.0/0", nat_gateway_id=nat.id)
