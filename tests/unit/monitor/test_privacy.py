"""Twenty kinds of personal data and secrets, in five encodings, planted in prompts and answers: no file the service writes has them."""

import base64
import html
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from llmops_monitor.cli import main
from llmops_monitor.mask import mask
from llmops_monitor.rules.pii import find
from support.traffic import exchange, good, questions, write_log

PLANTED = {
    "email": "maria.lindqvist@posteo-mail.example",
    "phone": "+49 171 5550137",
    "phone without country": "(415) 555-0199",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "social security": "536-22-8714",
    "ip address": "203.0.113.77",
    "ip v6 address": "2001:db8:85a3:0:0:8a2e:370:7334",
    "mac address": "3c:22:fb:9a:01:7e",
    "passport": "passport number C01X00T47",
    "licence": "driver's license D1234567",
    "birth": "born on 14 March 1987",
    "street": "1600 Rosewood Avenue",
    "name": "My name is Maria Lindqvist",
    "password": "password: Tr0ub4dor&3x",
    "aws key": "AKIAIOSFODNN7EXAMPLE",
    "github token": "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "api key": "api_key=sk-proj-9f8e7d6c5b4a39281706",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "database": "postgresql://admin:hunter2secret@db.internal:5432/app",
}
WHAT = {"name": "Maria Lindqvist", "passport": "C01X00T47", "licence": "D1234567", "birth": "14 March 1987", "password": "Tr0ub4dor&3x",
        "api key": "sk-proj-9f8e7d6c5b4a39281706", "database": "hunter2secret"}  # fmt: skip
"""What must not be found, where it is less than what was planted."""
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "URL": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "escapes": lambda text: "".join(f"\\u{ord(sign):04x}" for sign in text),
}


def forbidden() -> dict[str, set[str]]:
    """Everything that must not be in a file, by kind."""
    return {
        kind: {encoded for encode in ENCODINGS.values() for encoded in (encode(text), encode(WHAT.get(kind, text)))}
        | {quote(WHAT.get(kind, text)), html.escape(WHAT.get(kind, text)), json.dumps(WHAT.get(kind, text))[1:-1]}
        for kind, text in PLANTED.items()
    }


def leaks(text: str) -> list[str]:
    return [f"{kind}: {secret}" for kind, secrets in forbidden().items() for secret in secrets if secret in text]


def test_twenty_kinds_are_planted_and_each_is_known() -> None:
    assert len(PLANTED) == 20
    assert [kind for kind, text in PLANTED.items() if not find(f"Please note: {text}, thank you.")] == []


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_shown_is_masked(kind: str, encoding: str) -> None:
    shown = mask(f"Could you check this for me: {ENCODINGS[encoding](PLANTED[kind])}? Thanks.")

    assert leaks(shown) == [] and "[" in shown


def test_what_the_platform_knows_is_masked_under_the_names_of_ours() -> None:
    transfer = mask("I applied for a money transfer from GB82WEST12345698765432 to other accounts, call my registered 905-674-3793.")

    assert transfer == "I applied for a money transfer from [iban] to other accounts, call my registered [phone]."
    # a password in an address is ours, what follows it looks like an email to the platform: one piece, nothing of it left
    assert mask("It is postgresql://admin:hunter2secret@db.example.com today.") == "It is postgresql://admin:[email] today."


def test_plain_text_stays_readable() -> None:
    text = "What does shutil.copytree(src, dst) do? It copies a directory tree of 12 files."

    assert mask(text) == text


def test_no_file_holds_what_was_planted(tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    secrets = [encode(text) for text in PLANTED.values() for encode in ENCODINGS.values()]
    rows, start = questions(), datetime(2026, 11, 23, 12, tzinfo=UTC)
    exchanges = []
    for number, secret in enumerate(secrets):
        message = rows[number].messages[0].model_copy(update={"content": f"{rows[number].messages[0].content} {secret}"})
        exchanges.append(
            exchange(rows[number], number, good, messages=[message], response=f"Here: {secret}", time=start + timedelta(minutes=2 * number))
        )
    exchanges += [exchange(rows[number], 1000 + number, good, metadata={"window": "before"}) for number in range(120)]
    log = tmp_path / "log"
    write_log(str(log), exchanges)
    (log / "broken.jsonl").write_text("\n".join([*secrets, *(item.model_dump_json()[:-30] for item in exchanges[:100])]))
    out = tmp_path / "out"
    source, windows = f"exchanges={log}", "reference.metadata.window=before"
    before = "select.metadata.window=before"

    with caplog.at_level(logging.DEBUG):
        codes = [
            main([*words, "--log-json"])
            for words in (
                ["describe", source, f"out={out / 'describe'}"],
                ["profile", source, before, f"out={out / 'profile'}"],
                ["drift", source, windows, "current.metadata.window=in_domain", "evidently=false", f"out={out / 'drift'}"],
                ["drift", source, windows, "current.metadata.window=in_domain", "evidently=false", "text=response", f"out={out / 'answers'}"],
                ["drift", source, f"profile={out / 'profile'}", "evidently=false", f"out={out / 'gate'}"],
                ["collect", source, f"out={out / 'windows'}"],
                ["history", f"windows={out / 'windows'}", f"out={out / 'history'}"],
            )
        ]  # fmt: skip

    assert codes == [0, 0, 3, 3, 3, 0, 0]
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) >= 15
    found = {str(path.relative_to(out)): leaks(path.read_bytes().decode("latin-1")) for path in files}
    printed = capsys.readouterr()
    assert {name: items for name, items in found.items() if items} == {}
    assert leaks(printed.out) == leaks(printed.err) == leaks(caplog.text) == []
