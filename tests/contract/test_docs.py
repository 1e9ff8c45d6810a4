"""Commands and files that the pages for operations name are there."""

import re
from pathlib import Path

import pytest

from support.golden import REPOSITORY, SERVICES, verbs

PAGES = [REPOSITORY / name for name in ("RUNBOOKS.md", "THREATS.md")]
INFRA = {"synth", "prices", "plan", "apply", "destroy", "pipeline", "bootstrap"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = {f"llmops-{service}": {verb.name for verb in verbs(service)} for service in SERVICES} | {"llmops-infra": INFRA}
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))

    named = re.findall(r"\b(llmops-(?:preprocess|train|serve|monitor|infra)) ([a-z]+)\b", text)
    assert not [words for words in named if words[1] not in known[words[0]]]
    assert not [target for target in re.findall(r"`make ([a-z-]+)", text) if target not in targets]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_setting_of_a_command_exists(page: Path) -> None:
    for command, verb, rest in re.findall(r"\bllmops-([a-z]+) ([a-z]+)((?: [a-z_.]+=[^\s`]+)+)", page.read_text(encoding="utf-8")):
        if command == "infra":
            continue
        fields = next(one for one in verbs(command) if one.name == verb).config.model_fields
        assert {word.partition("=")[0].partition(".")[0] for word in rest.split()} <= set(fields), f"llmops-{command} {verb}{rest}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [page.parent / link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    paths = [REPOSITORY / path for path in re.findall(r"`((?:services|tests|terraform|shared|\.github)/[\w./-]+)`", text)]
    assert links and not [str(path) for path in (*links, *paths) if not path.exists()]
