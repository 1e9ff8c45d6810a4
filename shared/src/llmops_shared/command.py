"""The command line of every service: `llmops-<service> <verb> [--config FILE] [key=value ...]`.

stdout carries the resulting document as JSON, stderr the log. Exit codes: 0 done, 1 our bug (a traceback), 2 the user's
error (one message), 3 done and the verdict is no.
"""

import argparse
import json
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from llmops_shared.config import Config, Tree, load_config, nested_models
from llmops_shared.errors import LlmopsError, VerdictNo
from llmops_shared.log import configure

if TYPE_CHECKING:
    from llmops_shared.contracts import Contract  # building their models takes longer than `--help` may

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=Config)

DONE, BUG, USER_ERROR, VERDICT_NO = 0, 1, 2, 3


@dataclass(frozen=True)
class Verb(Generic[C]):
    """One verb of a service. `run` imports what is slow inside itself, so that `--help` stays fast."""

    name: str
    """The word on the command line."""
    summary: str
    """One line for `--help`."""
    config: type[C]
    """Its settings."""
    run: "Callable[[C], Contract | None]"
    """Does the work; None when there is no document, as for a server."""
    refuses: Callable[[Any], bool] = lambda document: False
    """Whether the document's verdict is a no, which exits with 3."""
    rehearse: "Callable[[C], dict[str, Any] | None] | None" = None
    """What it would do, for `--dry-run`, without doing it; None, or of it: the settings say it all."""
    subject: str = ""
    """The setting that a bare word stands for, as in `llmops-monitor why REQUEST_ID`; none: every setting is written key=value."""


def run_command(program: str, summary: str, verbs: Sequence[Verb[Any]], argv: Sequence[str] | None = None) -> int:
    """Parses `argv`, runs the verb, prints its document and returns the exit code."""
    parser = make_parser(program, summary, verbs)
    arguments, rest = parser.parse_known_args(argv)  # argparse leaves settings after an option over
    if flags := [word for word in rest if word.startswith("-")]:
        parser.error(f"unknown option {', '.join(flags)}; settings are written key=value")
    verb: Verb[Any] = next(verb for verb in verbs if verb.name == arguments.verb)
    configure(arguments.log_json, rank=int(os.environ.get("RANK", "0")))
    try:
        words = with_subject([*arguments.settings, *rest], verb.subject)
        config = load_config(verb.config, arguments.config, words, platform_defaults(verb.config))
        if arguments.dry_run:
            print(dry_run(verb, config))
            return DONE
        document = verb.run(config)
    except LlmopsError as error:
        print(f"{program} {verb.name}: {error}", file=sys.stderr)
        return VERDICT_NO if isinstance(error, VerdictNo) else USER_ERROR
    except KeyboardInterrupt:
        print(f"{program} {verb.name}: stopped; run the same command again to go on", file=sys.stderr)
        return 130  # the shell's code for SIGINT
    if document is None:
        return DONE
    sys.stdout.write(document.to_json().decode())
    if arguments.document:
        Path(arguments.document).parent.mkdir(parents=True, exist_ok=True)
        Path(arguments.document).write_bytes(document.to_json())
    return VERDICT_NO if verb.refuses(document) and not arguments.exit_zero else DONE


def dry_run(verb: Verb[C], config: C) -> str:
    """The resolved settings, and what would be done where the verb can say it."""
    plan = verb.rehearse(config) if verb.rehearse else None
    if plan is None:
        return config.model_dump_json(indent=2)
    return json.dumps({"settings": config.model_dump(mode="json"), "plan": plan}, indent=2)


def with_subject(words: Sequence[str], subject: str) -> list[str]:
    """The words with the first bare one written as the setting it stands for."""
    bare = next((index for index, word in enumerate(words) if "=" not in word), None)
    if not subject or bare is None:
        return list(words)
    # quoted, for an id of digits is no number
    return [*words[:bare], f"{subject}={json.dumps(words[bare])}", *words[bare + 1 :]]


def make_parser(program: str, summary: str, verbs: Sequence[Verb[Any]]) -> argparse.ArgumentParser:
    """The parser, with every setting of every verb in its help."""
    parser = argparse.ArgumentParser(prog=program, description=summary)
    commands = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in verbs:
        command = commands.add_parser(
            verb.name,
            help=verb.summary,
            description=verb.summary,
            epilog=settings_help(verb.config),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("--config", metavar="FILE", help="YAML file with settings")
        command.add_argument(
            "--dry-run", action="store_true", help="print the resolved settings and what would be asked of AWS, and do nothing"
        )
        command.add_argument("--log-json", action="store_true", help="log one JSON object a line")
        command.add_argument("--document", metavar="FILE", help="write the document that stdout carries to this local file, too")
        command.add_argument(
            "--exit-zero", action="store_true", help="exit with 0 whatever the verdict, for a caller that reads it in the document"
        )
        bare = f"{verb.subject.upper()} or key=value" if verb.subject else "key=value"
        command.add_argument("settings", nargs="*", metavar=bare, help="a setting; wins over the file")
    return parser


def settings_help(model: type[BaseModel]) -> str:
    """All settings of a config: key, default and the docstring under the field."""
    lines = ["settings:"]
    for key, default, text in describe_settings(model):
        lines.append(f"  {key}{default}")
        lines.extend(textwrap.wrap(text, width=100, initial_indent="      ", subsequent_indent="      "))
    return "\n".join(lines)


def describe_settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted key, default as text, help) of each setting, required ones first."""
    fields = sorted(model.model_fields.items(), key=lambda item: not item[1].is_required())
    for name, field in fields:
        nested = nested_models(field.annotation)
        text = field.description or ""
        if len(nested) == 1 and not str(field.annotation).startswith(("list", "dict")):
            yield from describe_settings(nested[0], f"{prefix}{name}.")
        elif field.is_required():
            yield f"{prefix}{name}", "  (required)", text
        else:
            default = field.get_default(call_default_factory=True)
            shown = json.dumps(default, default=lambda value: value.model_dump(mode="json"))
            yield f"{prefix}{name}", f"={shown}", text


def platform_defaults(model: type[Config]) -> Tree:
    """What the platform sets in the environment, below file and command line."""
    if "tracking" not in model.model_fields:
        return {}
    names = {"uri": "MLFLOW_TRACKING_URI", "experiment": "MLFLOW_EXPERIMENT_NAME", "pipeline": "LLMOPS_PIPELINE_RUN"}
    return {"tracking": {key: os.environ[name] for key, name in names.items() if os.environ.get(name)}}
