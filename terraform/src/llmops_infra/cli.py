"""`llmops-infra`: an environment's YAML to Terraform's JSON."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from llmops_infra.config import Environment, load_environment
from llmops_shared.command import DONE, USER_ERROR, settings_help
from llmops_shared.errors import LlmopsError
from llmops_shared.log import configure


def make_parser() -> argparse.ArgumentParser:
    """The parser, with every setting of an environment in its help."""
    parser = argparse.ArgumentParser(prog="llmops-infra", description="The infrastructure on AWS, one environment at a time.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    command = verbs.add_parser(
        "synth",
        help="write both stacks of an environment as Terraform JSON",
        description="Writes OUT/stacks/{platform,serving}/cdk.tf.json, for `terraform -chdir=`. Kept when nothing changed.",
        epilog=settings_help(Environment),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("environment", metavar="ENV", help="name of a file in terraform/environments, or the path of a YAML file")
    command.add_argument("settings", nargs="*", metavar="key=value", help="a setting; wins over the file")
    command.add_argument("--out", metavar="DIR", help="where to write (default: build/terraform/NAME)")
    command.add_argument("--force", action="store_true", help="write anew although nothing changed")
    command.add_argument("--dry-run", action="store_true", help="print the resolved settings as JSON and do nothing")
    command.add_argument("--log-json", action="store_true", help="log one JSON object a line")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb and returns the exit code."""
    parser = make_parser()
    arguments, rest = parser.parse_known_args(argv)  # argparse leaves settings after an option over
    if flags := [word for word in rest if word.startswith("-")]:
        parser.error(f"unknown option {', '.join(flags)}; settings are written key=value")
    configure(arguments.log_json, rank=0)
    try:
        environment = load_environment(arguments.environment, [*arguments.settings, *rest])
        if arguments.dry_run:
            print(environment.model_dump_json(indent=2))
            return DONE
        from llmops_infra.synth import synth

        out = Path(arguments.out or f"build/terraform/{environment.name}")
        print(synth(environment, out, arguments.force).model_dump_json(indent=2))
    except LlmopsError as error:
        print(f"llmops-infra {arguments.verb}: {error}", file=sys.stderr)
        return USER_ERROR
    return DONE


if __name__ == "__main__":
    sys.exit(main())
