"""The commands of the loop with less training, run in this process."""

import contextlib
import io
import logging

from support.loop import Step, main_of

# less training and traffic; enough for every Python's library to teach something
SMALLER = {
    "base": ["num_epochs=0.4"],
    "tuned": ["num_epochs=0.4"],
    "evaluation-base": ["limit=60", "perplexity_rows=200"],
    "evaluation-tuned": ["limit=60", "perplexity_rows=200"],
    "replay": ["prompts.in_domain.limit=160", "prompts.in_domain_with_context.limit=10", "prompts.shifted.limit=120"],
}


def run(step: Step) -> int:
    """Runs one step in this process, as its console command would, and returns its exit code."""
    handlers = logging.getLogger().handlers[:]
    try:
        return main_of(step.argv[0])([*step.argv[1:], *SMALLER.get(step.name, [])])
    finally:
        logging.getLogger().handlers[:] = handlers  # commands configure the log; pytest wants its own back


def shown(step: Step) -> str:
    """What the last step prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert run(step) == 0
    return out.getvalue()
