"""No account, key or bucket of anybody is in the repository."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# accounts that are no secret: AWS's own example, and AWS's registries of images
ACCOUNTS = {
    "123456789012": "the account of AWS's documentation",
    "111122223333": "another account of AWS's documentation",
    "999999999999": "nobody's",
    "763104351884": "AWS's Deep Learning Containers",
    "394669845002": "AWS's pages for Ground Truth's workers",
    # AWS's Lambda functions for Ground Truth, one account a region, as the reference of CreateLabelingJob lists them
    **dict.fromkeys(
        "432418664414 266458841044 081040173940 918755190332 568282634449 487402164563 203001061592 477331159723 845288260483 "
        "565803892007 377565633583 454466003867".split(),
        "AWS's functions for Ground Truth",
    ),
}
ACCOUNT = re.compile(r"(?<![\w.#-])(\d{12})(?![\w.])")
KEY = re.compile(r"(?:AKIA|ASIA)[A-Z0-9]{16}|-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\n|gh[pousr]_\w{36}|hf_[A-Za-z]{34}")
BUCKET = re.compile(r"s3://([a-z0-9][a-z0-9.-]{2,62})|arn:aws:s3:::([a-z0-9][a-z0-9.-]{2,62})")
# examples in the documentation of AWS and GitHub
EXAMPLE_KEYS = {"AKIAIOSFODNN7EXAMPLE", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"}
# names in examples and tests: ours begin with llmops
PLACEHOLDERS = re.compile(
    r"llmops[a-z0-9.-]*|bucket|name|models?|datasets?|packages?|captures?|raw|no-such-bucket|elsewhere|nowhere|\w+-bucket|a-bucket|other|somewhere"
)


def files() -> Iterator[tuple[str, str]]:
    """(path, text) of every tracked text file."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        path = ROOT / name
        if not path.is_file() or path.suffix in (".png", ".lock"):
            continue
        try:
            yield name, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


@pytest.mark.parametrize(
    ("pattern", "innocent"),
    [(ACCOUNT, ACCOUNTS.__contains__), (KEY, EXAMPLE_KEYS.__contains__), (BUCKET, PLACEHOLDERS.fullmatch)],
    ids=["accounts", "keys", "buckets"],
)
def test_nothing_of_anybody_is_in_the_repository(pattern: re.Pattern[str], innocent: Callable[[str], object]) -> None:
    found = [
        f"{name}: {match[0]}"
        for name, text in files()
        if ROOT / name != Path(__file__)
        for match in pattern.finditer(text)
        if not innocent(next((group for group in match.groups() if group), match[0]))
    ]

    assert found == []


def test_the_patterns_find_what_they_are_for() -> None:
    assert ACCOUNT.findall('"210987654321" 1234567890123 v210987654321') == ["210987654321"]
    assert KEY.search("AKIA" + "Z" * 16) and KEY.search("hf_" + "a" * 34)
    assert BUCKET.search("s3://my.real-bucket/key") and not PLACEHOLDERS.fullmatch("my.real-bucket")
