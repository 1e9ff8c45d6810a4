"""Checkpoints: sharded, written beside the training, hashed, complete when their last file exists, readable by any number of processes."""

from llmops_train.checkpoint.checkpoint import Checkpoint
from llmops_train.checkpoint.progress import Progress, Window

__all__ = ["Checkpoint", "Progress", "Window"]
