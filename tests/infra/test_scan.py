"""What the scan makes of findings and skips."""

import datetime
from pathlib import Path

import pytest

from support.scan import CHECKOV, Finding, Skip, judge, main, read_skips
from support.stacks import needs_node
from support.tools import lacking

TODAY = datetime.date(2026, 11, 24)
OPEN = Finding("CKV_AWS_144", "dev/platform/aws_s3_bucket.raw", "no replication")
SKIP = Skip("CKV_AWS_144", "*/platform/aws_s3_bucket.*", "one region is enough", datetime.date(2027, 1, 1))


def test_a_skip_covers_its_findings_until_its_date() -> None:
    assert judge([OPEN], [], TODAY).failed == [OPEN]
    assert judge([OPEN], [SKIP], TODAY) == ([], 1, [], [])

    late = judge([OPEN], [SKIP], datetime.date(2027, 1, 2))

    assert late.failed == [OPEN] and late.expired == [SKIP] and not late.passes()


def test_a_skip_that_finds_nothing_fails() -> None:
    other = Finding("CKV_AWS_21", OPEN.where, "not versioned")

    verdict = judge([other], [SKIP], TODAY)

    assert verdict.failed == [other] and verdict.unused == [SKIP]


def test_a_skip_without_a_reason_is_refused(tmp_path: Path) -> None:
    (tmp_path / "skips.yaml").write_text("- {check: X, where: '*', reason: '', until: 2027-01-01}")

    with pytest.raises(AssertionError, match="says why"):
        read_skips(tmp_path / "skips.yaml")


@pytest.mark.slow
def test_every_environment_passes(capsys: pytest.CaptureFixture[str]) -> None:
    if not CHECKOV.exists():
        lacking("checkov in .venv-scan", "make scan")
    needs_node()

    code = main()

    assert code == 0, capsys.readouterr().out
