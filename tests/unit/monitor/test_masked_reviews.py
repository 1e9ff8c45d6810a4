"""Personal data in traffic reaches neither the review queue, nor the pages, the rows, the reports or the log."""

import base64
import html
import logging
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from llmops_monitor.cli import main
from llmops_shared.contracts.review import ReviewAnswer
from llmops_shared.review.sqlite import SqliteQueue
from support.traffic import good, paired, poor, questions, write_scene

ROWS = questions()[:120]
PLANTED = {
    "email": "ann.smith@example.com",
    "phone": "+1 415 555 0137",
    "national phone": "(030) 1234 5678",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "social security": "078-05-1120",
    "ip address": "203.0.113.77",
    "ipv6 address": "2001:db8:85a3:0:0:8a2e:370:7334",
    "mac address": "3D:F2:C9:A6:B3:4F",
    "aws key": "AKIAIOSFODNN7EXAMPLE",
    "github token": "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "private key": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----",
    "connection": "postgresql://admin:hunter2secret@db.internal/prod",
    "password": "password: Tr0ub4dor&3xyz",
    "api key": "api_key=sk-proj-abcdefghijklmnop1234",
    "passport": "passport number X1234567Z",
    "birth": "born on 12 March 1984",
    "street": "1600 Pennsylvania Avenue",
    "crypto": "0x52908400098527886E0F7030069857D2E4169EE7",
}


def encodings(text: str) -> list[str]:
    raw = text.encode()
    escaped = "".join(f"&#{ord(sign)};" for sign in text)
    return [text, base64.b64encode(raw).decode(), raw.hex(), quote(text, safe=""), escaped]


def told_by(text: str) -> list[str]:
    """What must not be found: the secret part in each encoding."""
    return [form for form in encodings(text) if len(form) > 7] + [html.escape(text)]


@pytest.mark.slow
def test_twenty_kinds_in_five_encodings_are_in_no_file_that_people_or_training_see(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    forms = [form for text in PLANTED.values() for form in encodings(text)]
    assert len(forms) == 100
    exchanges = [
        item.model_copy(update={"response": f"{item.response} Note: {forms[number // 2 % 100]} end."})
        for number, item in enumerate(paired(ROWS, production=poor, shadow=good))
    ]
    scene = write_scene(str(tmp_path / "given"), exchanges, ROWS)
    other = write_scene(str(tmp_path / "evaluation"), [], questions()[200:210])
    made = tmp_path / "made"
    with caplog.at_level(logging.DEBUG):
        main(["compare", f"endpoint={scene.endpoint}", f"dataset={scene.dataset}", f"out={made / 'report'}"])
        queue = ["queue.uri=" + str(made / "review.db")]
        main(
            [
                "sample",
                *queue,
                f"endpoint={scene.endpoint}",
                f"report={made / 'report'}",
                "num_random=120",
                "num_uncertain=0",
                "num_alarm=0",
            ]
        )
        review = SqliteQueue(str(made / "review.db"))
        items = review.pending()
        assert len(items) == 120
        for item in items:
            review.record(ReviewAnswer(item_id=item.item_id, reviewer="ada", label=item.labels[1], time=datetime.now(UTC)))
        assert main(["labels", *queue, f"out={made / 'labels'}"]) == 0
        words = ["remediate", str(made / "report"), f"review.uri={made / 'review.db'}", "retrain=always", "max_score=0.9"]
        assert main([*words, f"evaluation={other.dataset}", f"out={made / 'remedy'}"]) == 0

    out, err = capsys.readouterr()
    written = {str(path.relative_to(made)): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    written |= {"stdout": out.encode(), "stderr": err.encode(), "log": caplog.text.encode()}
    found = [
        (name, kind)
        for kind, text in PLANTED.items()
        for form in told_by(text)
        for name, content in written.items()
        if form.encode() in content
    ]
    assert len(written) > 10
    assert found == []
