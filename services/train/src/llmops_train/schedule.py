"""Learning rate over the steps, as a share of its peak."""

import math

from llmops_train.config import OptimizerConfig


def rate(config: OptimizerConfig, step: int, num_steps: int) -> float:
    """The share at a step, the first being 0; in (0, 1], and `final_share` at the last step."""
    done = (step + 1) / num_steps
    if done < config.warmup_share:
        return done / config.warmup_share
    if config.schedule == "cosine":
        left = (1 - done) / (1 - config.warmup_share)
        return config.final_share + (1 - config.final_share) * (1 - math.cos(math.pi * left)) / 2
    left = min(1.0, (1 - done) / config.decay_share)
    return config.final_share + (1 - config.final_share) * left
