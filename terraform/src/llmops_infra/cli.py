"""`llmops-infra`: an environment's YAML to Terraform's JSON, and Terraform on both stacks in order."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from llmops_infra.config import Environment, load_environment
from llmops_shared.command import DONE, USER_ERROR, settings_help
from llmops_shared.errors import LlmopsError
from llmops_shared.log import configure


def make_parser() -> argparse.ArgumentParser:
    """The parser, with every setting of an environment in its help."""
    parser = argparse.ArgumentParser(prog="llmops-infra", description="The infrastructure on AWS, one environment at a time.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    synth = add_verb(verbs, "synth", run_synth, "write both stacks of an environment as Terraform JSON")
    synth.description = "Writes OUT/stacks/{platform,serving}/cdk.tf.json, for `terraform -chdir=`. Kept when nothing changed."
    synth.add_argument("--force", action="store_true", help="write anew although nothing changed")
    prices = add_verb(verbs, "prices", run_prices, "print what an environment costs a month, part by part")
    prices.add_argument("--refresh", action="store_true", help="read the region's prices from the AWS Pricing API first")
    for verb, what in (("plan", "show what would change"), ("apply", "make it so"), ("destroy", "take everything away")):
        command = add_verb(verbs, verb, run_terraform, f"{what}, in both stacks in order; `synth` and `prices` first")
        command.add_argument("--offline", action="store_true", help="on a simulated AWS, without account and network")
        if verb != "plan":
            command.add_argument("--yes", action="store_true", help="do not ask before anything is changed")
    add_verb(verbs, "bootstrap", run_bootstrap, "make the bucket that keeps Terraform's state")
    return parser


def add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[Environment, argparse.Namespace], None],
    summary: str,
) -> argparse.ArgumentParser:
    """A verb with what all of them take."""
    command = verbs.add_parser(
        name, help=summary, description=summary, epilog=settings_help(Environment), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("environment", metavar="ENV", help="name of a file in terraform/environments, or the path of a YAML file")
    command.add_argument("settings", nargs="*", metavar="key=value", help="a setting; wins over the file")
    command.add_argument("--out", metavar="DIR", help="where the stacks are written (default: build/terraform/NAME)")
    command.add_argument("--dry-run", action="store_true", help="print the resolved settings as JSON and do nothing")
    command.add_argument("--log-json", action="store_true", help="log one JSON object a line")
    command.set_defaults(run=run)
    return command


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
        arguments.run(environment, arguments)
    except LlmopsError as error:
        print(f"llmops-infra {arguments.verb}: {error}", file=sys.stderr)
        return USER_ERROR
    return DONE


def run_synth(environment: Environment, arguments: argparse.Namespace) -> None:
    """Writes the stacks."""
    from llmops_infra.synth import synth

    print(synth(environment, out_folder(environment, arguments), arguments.force).model_dump_json(indent=2))


def run_prices(environment: Environment, arguments: argparse.Namespace) -> None:
    """Prints the estimate: a table for people on stderr, the document on stdout."""
    from llmops_infra.endpoint_document import read_endpoint
    from llmops_infra.price_list import read_prices, write_prices
    from llmops_infra.prices import estimate, table

    if arguments.refresh:
        from llmops_infra.pricing import refresh

        write_prices(refresh(read_prices(environment.region), environment.region))
    found = estimate(environment, read_endpoint(environment))
    print(table(found), file=sys.stderr)
    print(found.model_dump_json(indent=2))


def run_terraform(environment: Environment, arguments: argparse.Namespace) -> None:
    """Says the price and runs Terraform on both stacks."""
    from llmops_infra.endpoint_document import read_endpoint
    from llmops_infra.prices import estimate, table
    from llmops_infra.synth import synth
    from llmops_infra.terraform import run

    if arguments.verb != "destroy":
        print(table(estimate(environment, read_endpoint(environment))), file=sys.stderr)
    synthesis = synth(environment, out_folder(environment, arguments))
    stacks = {name: Path(folder) for name, folder in synthesis.stacks.items()}
    run(arguments.verb, environment, stacks, offline=arguments.offline, ask=not getattr(arguments, "yes", True))


def run_bootstrap(environment: Environment, arguments: argparse.Namespace) -> None:
    """Makes the state's bucket and prints what it is called."""
    from llmops_infra.s3 import make_state_bucket

    print(make_state_bucket(environment).model_dump_json(indent=2))


def out_folder(environment: Environment, arguments: argparse.Namespace) -> Path:
    """Where the stacks go."""
    return Path(arguments.out or f"build/terraform/{environment.name}")


if __name__ == "__main__":
    sys.exit(main())
