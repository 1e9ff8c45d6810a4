"""The private network: EFA and Lustre rules, the closed default group, private endpoints and their policies."""

import ipaddress
from typing import Any

from llmops_infra.config import load_environment
from llmops_infra.private_services import ACTIONS, services_of
from llmops_infra.settings import PRIVATE_SERVICES
from support.infrastructure import Stacks, synthesized
from support.stacks import ACCOUNT, PARTITION, Resources, statements

ANYWHERE = {"0.0.0.0/0", "::/0"}


def rules(platform: Resources, way: str) -> list[dict[str, Any]]:
    return list(platform[f"aws_vpc_security_group_{way}_rule"].values())


def group(name: str) -> str:
    return f"${{aws_security_group.network_groups_{name}.id}}"


def between(rules: list[dict[str, Any]], source: str, target: str) -> set[tuple[str, Any, Any]]:
    """Protocol and ports of the rules of one group that name another."""
    return {
        (rule["ip_protocol"], rule.get("from_port"), rule.get("to_port"))
        for rule in rules
        if rule["security_group_id"] == group(source) and rule.get("referenced_security_group_id") == group(target)
    }


def test_efa_has_all_protocols_to_and_from_itself_both_ways(platform: Resources) -> None:
    for way in ("ingress", "egress"):
        assert between(rules(platform, way), "efa", "efa") == {("-1", None, None)}


def test_efa_lets_nobody_else_in_or_out(platform: Resources) -> None:
    own = [rule for way in ("ingress", "egress") for rule in rules(platform, way) if rule["security_group_id"] == group("efa")]

    assert len(own) == 2


def test_lustre_has_its_ports_between_servers_and_clients_both_ways(platform: Resources) -> None:
    ports = {("tcp", 988, 988), ("tcp", 1018, 1023)}

    for way in ("ingress", "egress"):
        for source, target in (("fsx", "fsx"), ("fsx", "jobs"), ("jobs", "fsx")):
            assert between(rules(platform, way), source, target) == ports, (way, source, target)


def test_the_database_lets_in_jobs_on_its_port_only(platform: Resources) -> None:
    own = [rule for rule in rules(platform, "ingress") if rule["security_group_id"] == group("database")]

    assert [(rule["referenced_security_group_id"], rule["from_port"], rule["to_port"]) for rule in own] == [(group("jobs"), 5432, 5432)]


def test_nothing_comes_in_from_anywhere_and_only_https_goes_out(platform: Resources) -> None:
    assert not [rule for rule in rules(platform, "ingress") if rule.get("cidr_ipv4") in ANYWHERE]
    out = [rule for rule in rules(platform, "egress") if rule.get("cidr_ipv4") in ANYWHERE]
    assert [(rule["from_port"], rule["to_port"]) for rule in out] == [(443, 443)]  # NAT is switched on here


def test_groups_have_no_rules_of_their_own(platform: Resources) -> None:
    for security_group in platform["aws_security_group"].values():
        assert not {"ingress", "egress"} & security_group.keys()


def test_the_default_group_is_closed(platform: Resources) -> None:
    (closed,) = platform["aws_default_security_group"].values()

    assert closed["ingress"] == closed["egress"] == []


def test_subnets_are_private_and_do_not_overlap(platform: Resources) -> None:
    subnets = platform["aws_subnet"].values()
    blocks = [ipaddress.ip_network(subnet["cidr_block"]) for subnet in subnets]

    assert not any(subnet["map_public_ip_on_launch"] for subnet in subnets)
    assert not any(one.overlaps(other) for index, one in enumerate(blocks) for other in blocks[index + 1 :])


def test_zones_are_those_that_offer_every_wanted_type(stacks: Stacks) -> None:
    document = synthesized(stacks["platform"])

    offers = document["data"]["aws_ec2_instance_type_offerings"]
    asked = {offer["filter"][0]["values"][0] for offer in offers.values()}
    assert asked == {"p5.48xlarge", "g5.2xlarge"}
    assert all(f"aws_ec2_instance_type_offerings.{name}.locations" in document["locals"]["network_zones"] for name in offers)


def test_every_service_has_a_private_endpoint_with_a_policy(platform: Resources) -> None:
    endpoints = platform["aws_vpc_endpoint"].values()
    services = {endpoint["service_name"].removeprefix("com.amazonaws.eu-west-1.") for endpoint in endpoints}

    # all kinds of retrieval are switched on here
    assert services == {"s3", "aws.sagemaker.eu-west-1.experiments", "kendra", "bedrock-agent-runtime", *PRIVATE_SERVICES} - {"mlflow"}
    assert ACTIONS.keys() == {*PRIVATE_SERVICES, "kendra", "bedrock-agent-runtime"}
    for endpoint in endpoints:
        for statement in statements(endpoint["policy"]):
            assert statement["Effect"] == "Allow"
            assert not [action for action in statement["Action"] if action == "*" or action.endswith(":*")]
            # either our own principals, or the one bucket with AWS's image layers
            bounded = statement.get("Condition", {}).get("StringEquals", {}).get("aws:PrincipalAccount")
            assert bounded or statement["Resource"] == [f"arn:{PARTITION}:s3:::prod-eu-west-1-starport-layer-bucket/*"]


def test_retrieval_brings_the_endpoints_that_it_calls() -> None:
    def added(*words: str) -> list[str]:
        environment = load_environment("dev", list(words))
        return services_of(environment)[len(environment.network.private_services) :]

    assert added() == []
    assert added("retrieval.pgvector={}") == ["bedrock-agent-runtime"]
    assert added("retrieval.kendra={}") == ["bedrock-agent-runtime", "kendra"]
    assert added("retrieval.kendra={}", "network.private_services=[sts]") == ["kendra"]


def test_the_s3_endpoint_reaches_buckets_of_this_account_only(platform: Resources) -> None:
    (s3,) = [endpoint for endpoint in platform["aws_vpc_endpoint"].values() if endpoint["vpc_endpoint_type"] == "Gateway"]
    own, _layers = statements(s3["policy"])

    assert own["Condition"] == {"StringEquals": {"aws:PrincipalAccount": ACCOUNT, "aws:ResourceAccount": ACCOUNT}}


def test_flows_are_logged_whether_accepted_or_not(platform: Resources) -> None:
    (log,) = platform["aws_flow_log"].values()
    group = platform["aws_cloudwatch_log_group"]["network_flows"]

    assert log["traffic_type"] == "ALL"
    assert group["kms_key_id"] == "${aws_kms_key.keys_operations.arn}"


def test_the_placement_group_is_a_cluster(platform: Resources) -> None:
    assert [group["strategy"] for group in platform["aws_placement_group"].values()] == ["cluster"]
