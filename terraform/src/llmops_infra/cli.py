"""`llmops-infra`: an environment's YAML to Terraform's JSON, and Terraform on both stacks in order."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from llmops_infra.config import Environment, load_environment
from llmops_shared.command import DONE, USER_ERROR, VERDICT_NO, settings_help
from llmops_shared.errors import LlmopsError, VerdictNo
from llmops_shared.log import configure

STACKS = ("platform", "serving")


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
        command = add_verb(verbs, verb, run_terraform, f"{what}, in both stacks in order or in one; `synth` and `prices` first")
        command.add_argument("--offline", action="store_true", help="on a simulated AWS, without account and network")
        command.add_argument("--stack", choices=STACKS, help="only this one: a release needs leave to change serving, and no more")
        if verb != "plan":
            command.add_argument("--yes", action="store_true", help="do not ask before anything is changed")
    pipeline = add_verb(verbs, "pipeline", run_pipeline, "start the pipeline from raw text to the next Endpoint document")
    pipeline.add_argument(
        "--run", dest="run_name", metavar="NAME", help="name of the execution, below which its documents lie (default: day and commit)"
    )
    pipeline.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a parameter: Source, Model, Baseline, ..."
    )
    pipeline.add_argument(
        "--follow", action="store_true", help="show steps, logs and cost until it ends; 3 when its gate refuses the model"
    )
    pipeline.add_argument("--every", type=float, default=20.0, metavar="SECONDS", help="time between two looks of --follow")
    pipeline.add_argument("--offline", action="store_true", help="run its steps on this machine, on a simulated AWS")
    pipeline.add_argument("--source", metavar="DIR", help="raw text that --offline puts where the parameter Source points")
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
    command.add_argument("--dry-run", action="store_true", help="print the resolved settings, or the exact requests to AWS, and do nothing")
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
        if arguments.dry_run and arguments.verb not in ("pipeline", "bootstrap"):
            print(environment.model_dump_json(indent=2))
            return DONE
        arguments.run(environment, arguments)
    except LlmopsError as error:
        print(f"llmops-infra {arguments.verb}: {error}", file=sys.stderr)
        return VERDICT_NO if isinstance(error, VerdictNo) else USER_ERROR
    return DONE


def run_synth(environment: Environment, arguments: argparse.Namespace) -> None:
    """Writes the stacks."""
    from llmops_infra.synth import synth

    print(synth(environment, out_folder(environment, arguments), arguments.force).model_dump_json(indent=2))


def run_prices(environment: Environment, arguments: argparse.Namespace) -> None:
    """Prints the estimate: a table for people on stderr, the document on stdout."""
    from llmops_infra.endpoint_document import read_endpoint
    from llmops_infra.price_list import write_prices
    from llmops_infra.prices import estimate, table
    from llmops_shared.prices.price_list import read_prices

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
    stacks = {name: Path(folder) for name, folder in synthesis.stacks.items() if arguments.stack in (None, name)}
    run(arguments.verb, environment, stacks, offline=arguments.offline, ask=not getattr(arguments, "yes", True))


def run_pipeline(environment: Environment, arguments: argparse.Namespace) -> None:
    """Starts an execution and prints it; `--follow` waits for its end, `--offline` runs it here."""
    from llmops_infra.sagemaker import default_run, follow, start, start_request

    if not environment.pipeline.recipes:
        raise LlmopsError(f"{environment.name} has no pipeline: describe its stages in pipeline.recipes")
    wrong = [word for word in arguments.parameter if "=" not in word]
    if wrong:
        raise LlmopsError(f"--parameter {wrong[0]}: parameters are written NAME=VALUE")
    parameters, run = dict(word.split("=", 1) for word in arguments.parameter), arguments.run_name or default_run()
    if "Model" not in parameters and not environment.pipeline.model:
        raise LlmopsError("the pipeline starts from no model: give --parameter Model=s3://..., or set pipeline.model")
    if "ImageTag" not in parameters and not environment.pipeline.image_tag:
        raise LlmopsError("the pipeline runs no image: give --parameter ImageTag=COMMIT, which `images` pushed, or set pipeline.image_tag")
    if arguments.dry_run:
        print(json.dumps({"StartPipelineExecution": start_request(environment, run, parameters)}, indent=2))
        return
    if arguments.offline:
        from llmops_infra.pipeline_offline import run_offline
        from llmops_infra.synth import synth

        folder = out_folder(environment, arguments)
        stack = Path(synth(environment, folder).stacks["platform"])
        started = run_offline(
            environment, stack, folder / "pipeline", run, parameters, Path(arguments.source) if arguments.source else None
        )
    else:
        started = start(environment, run, parameters)
        if arguments.follow:
            started = follow(environment, started, lambda line: print(line, file=sys.stderr), arguments.every)
    print(started.model_dump_json(indent=2))


def run_bootstrap(environment: Environment, arguments: argparse.Namespace) -> None:
    """Makes the state's bucket and prints what it is called."""
    from llmops_infra.s3 import make_state_bucket, requests, state_bucket

    if arguments.dry_run:
        wanted = requests(state_bucket(environment), environment.region)
        print(json.dumps([{operation: parameters} for operation, parameters in wanted], indent=2))
        return
    print(make_state_bucket(environment).model_dump_json(indent=2))


def out_folder(environment: Environment, arguments: argparse.Namespace) -> Path:
    """Where the stacks go."""
    return Path(arguments.out or f"build/terraform/{environment.name}")


if __name__ == "__main__":
    sys.exit(main())
