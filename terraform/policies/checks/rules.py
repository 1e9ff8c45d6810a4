"""Our rules as checks of checkov: `checkov --external-checks-dir terraform/policies/checks`."""

import sys
from pathlib import Path
from typing import Any

from checkov.common.models.enums import CheckCategories, CheckResult
from checkov.terraform.checks.resource.base_resource_check import BaseResourceCheck

# checkov has an environment of its own, where our package is not installed; the rules need nothing but Python
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from llmops_infra.rules.every import RULES
from llmops_infra.rules.rule import Rule


class RuleCheck(BaseResourceCheck):
    """One rule."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        super().__init__(name=rule.title, id=rule.id, categories=[CheckCategories.GENERAL_SECURITY], supported_resources=list(rule.types))

    def scan_resource_conf(self, conf: dict[str, Any]) -> CheckResult:
        problem = self._rule.problem(plain(conf))
        self.details = [problem] if problem else []
        return CheckResult.FAILED if problem else CheckResult.PASSED


def plain(conf: dict[str, Any]) -> dict[str, Any]:
    """The resource as it stands in the JSON: checkov wraps each value into a list, as its HCL parser does."""
    found = {}
    for key, value in conf.items():
        if not isinstance(value, list):
            found[key] = value
        elif value and all(isinstance(item, dict) for item in value):
            found[key] = [plain(item) for item in value]
        else:
            found[key] = value[0] if len(value) == 1 else value
    return found


CHECKS = [RuleCheck(rule) for rule in RULES]
