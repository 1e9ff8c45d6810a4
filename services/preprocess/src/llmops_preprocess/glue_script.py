"""The script of the Glue job: runs `llmops-preprocess run` with the settings of the job's arguments."""

import json
import sys

from llmops_preprocess.cli import run
from llmops_preprocess.config import PreprocessConfig


def main() -> None:
    """Glue hands every argument on as `--name value`."""
    settings = sys.argv[sys.argv.index("--llmops_settings") + 1]
    run(PreprocessConfig.model_validate(json.loads(settings)))


if __name__ == "__main__":
    main()
