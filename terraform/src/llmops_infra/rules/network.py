"""Rules on the private ways out of the VPC and on security groups."""

from llmops_infra.rules.rule import Block, condition_keys, everybody, rule, statements, texts

OWNERS = {"aws:principalaccount", "aws:resourceaccount", "aws:principalorgid", "aws:resourceorgid", "aws:sourceaccount"}


@rule("LLMOPS_12", "A VPC endpoint lets nobody else's keys through", "aws_vpc_endpoint")
def endpoint_is_bounded(endpoint: Block) -> str | None:
    allowed = [statement for statement in statements(endpoint) if statement.get("Effect") == "Allow"]
    if not allowed:
        return "there is no policy, so that every principal may do everything"
    for statement in allowed:
        if "*" in texts(statement.get("Action")):
            return f"{statement.get('Sid')}: allows every action"
        anything = "*" in texts(statement.get("Resource"))
        if everybody(statement.get("Principal")) and anything and not OWNERS & set(condition_keys(statement)):
            return f"{statement.get('Sid')}: allows everybody everything there is, without a condition on whose it is"
    return None


@rule("LLMOPS_13", "An interface endpoint answers to the service's own name, behind a group of ours", "aws_vpc_endpoint")
def interface_is_private(endpoint: Block) -> str | None:
    if endpoint.get("vpc_endpoint_type") != "Interface":
        return None
    if endpoint.get("private_dns_enabled") is not True:
        return "private_dns_enabled is not true: calls would go out to the internet, or nowhere"
    return None if endpoint.get("security_group_ids") else "security_group_ids are missing, so that it gets the VPC's default group"


@rule(
    "LLMOPS_14",
    "Traffic of every kind is for members of the same group only",
    "aws_vpc_security_group_ingress_rule",
    "aws_vpc_security_group_egress_rule",
)
def all_protocols_stay_inside(found: Block) -> str | None:
    # EFA needs all protocols to and from the group itself; anything wider is a mistake
    if str(found.get("ip_protocol")) != "-1":
        return None
    if found.get("referenced_security_group_id") != found.get("security_group_id"):
        return "ip_protocol -1 to something else than the group itself"
    if found.get("from_port") is not None:
        return "ip_protocol -1 ignores the ports that are named"
    return None
