"""checkov with our own rules on every environment: `make scan`. Prints what failed and exits with 1 when anything did."""

import datetime
import fnmatch
import json
import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from support.infrastructure import ENVIRONMENT_NAMES, endpoint_document, synthesize, variant

ROOT = Path(__file__).resolve().parents[2]
CHECKOV = ROOT / ".venv-scan" / "bin" / "checkov"
POLICIES = ROOT / "terraform" / "policies"


class Skip(NamedTuple):
    """A finding that stands."""

    check: str
    where: str
    reason: str
    until: datetime.date


class Finding(NamedTuple):
    """A check that failed on a resource."""

    check: str
    where: str
    title: str


class Verdict(NamedTuple):
    """What is left after the skips."""

    failed: list[Finding]
    skipped: int
    expired: list[Skip]
    unused: list[Skip]

    def passes(self) -> bool:
        """Whether nothing is wrong, the skips included."""
        return not (self.failed or self.expired or self.unused)


def run_checkov(folder: Path, framework: str = "terraform_json") -> dict[str, Any]:
    """checkov's report on every stack, or every Dockerfile, below the folder."""
    options = [
        "--framework",
        framework,
        "--external-checks-dir",
        str(POLICIES / "checks"),
        "--compact",
        "--quiet",
        "--skip-download",
        "-o",
        "json",
    ]
    done = subprocess.run([str(CHECKOV), "-d", str(folder), *options], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"checkov ended with {done.returncode}: {done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    if report["summary"]["parsing_errors"]:
        raise RuntimeError(f"checkov could not read {report['results']['parsing_errors']}")
    return report


def findings(report: dict[str, Any]) -> list[Finding]:
    """The failed checks; a resource is ENVIRONMENT/STACK/RESOURCE."""
    return [
        Finding(
            record["check_id"],
            f"{Path(record['file_path']).parent.as_posix().lstrip('/')}/{record['resource'].lstrip('/')}",
            record["check_name"],
        )
        for record in report["results"]["failed_checks"]
    ]


def read_skips(path: Path = POLICIES / "skips.yaml") -> list[Skip]:
    """The skips; each needs every field, a reason above all."""
    skips = [Skip(**entry) for entry in yaml.safe_load(path.read_text())]
    assert all(skip.reason.strip() and isinstance(skip.until, datetime.date) for skip in skips), "every skip says why and until when"
    return skips


def judge(found: list[Finding], skips: list[Skip], today: datetime.date) -> Verdict:
    """Takes the skips that still hold off the findings."""

    def covers(skip: Skip, finding: Finding) -> bool:
        return skip.check == finding.check and fnmatch.fnmatchcase(finding.where, skip.where)

    holding = [skip for skip in skips if skip.until >= today]
    failed = [finding for finding in found if not any(covers(skip, finding) for skip in holding)]
    unused = [skip for skip in skips if not any(covers(skip, finding) for finding in found)]
    return Verdict(failed, len(found) - len(failed), [skip for skip in skips if skip.until < today], unused)


def write_stacks(folder: Path) -> None:
    """Every shipped environment with an endpoint, and the one with every switch on with a shadow variant."""
    for name in ENVIRONMENT_NAMES:
        variants = [variant("base"), variant("tuned", shadow=True)] if name == "full" else [variant("base", 9), variant("tuned", 1)]
        for stack, source in synthesize(name, ROOT / "build" / "scan" / name, endpoint_document(*variants)).items():
            target = folder / name / stack
            target.mkdir(parents=True)
            shutil.copy(source / "cdk.tf.json", target)


def main() -> int:
    """Scans and prints."""
    with tempfile.TemporaryDirectory() as folder:
        write_stacks(Path(folder))
        reports = [run_checkov(Path(folder)), run_checkov(ROOT / "services", "dockerfile")]
    skips = read_skips()
    verdict = judge([finding for report in reports for finding in findings(report)], skips, datetime.datetime.now(datetime.UTC).date())
    lines = [f"failed   {finding.check:<14} {finding.where}: {finding.title}" for finding in verdict.failed]
    lines += [f"expired  {skip.check:<14} {skip.where}, on {skip.until}: decide again, or mend it" for skip in verdict.expired]
    lines += [f"unused   {skip.check:<14} {skip.where}: finds nothing any more; remove it" for skip in verdict.unused]
    num_passed = sum(report["summary"]["passed"] for report in reports)
    counts = f"{num_passed} passed, {len(verdict.failed)} failed, {verdict.skipped} skipped by {len(skips)} entries"
    sys.stdout.write("\n".join([*lines, f"{len(ENVIRONMENT_NAMES)} environments and the images: {counts}"]) + "\n")
    return 0 if verdict.passes() else 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    sys.exit(main())
