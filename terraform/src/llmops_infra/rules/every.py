"""All rules: importing the modules fills the list."""

from llmops_infra.rules import identity, jobs, network, retrieval, serving
from llmops_infra.rules.rule import RULES, Block, Rule

__all__ = ["RULES", "identity", "jobs", "network", "problems", "retrieval", "serving"]


def problems(type_name: str, resource: Block) -> list[tuple[Rule, str]]:
    """The rules a resource breaks, each with what is wrong."""
    found = [(rule, rule.problem(resource)) for rule in RULES if type_name in rule.types]
    return [(rule, problem) for rule, problem in found if problem]
