"""The process of one model: takes prompts from a pipe and sends tokens back.

A process of its own keeps a busy, hanging or dying model away from the HTTP server and from the other variants. A model that is
split has one such process for each part: the first one has the pipe, the others follow it.
"""

import contextlib
import os
import signal
from multiprocessing.connection import Connection

import torch  # noqa: TID253 - this module is imported late
from transformers.utils import logging as transformers_logging  # noqa: TID253

from llmops_serve.engines.answer import Answer
from llmops_serve.engines.batches import Batches
from llmops_serve.engines.load import end_tokens, load_model, use_threads
from llmops_serve.engines.messages import Cancel, Failed, Generate, Ready, Steps, Unloadable, WorkerSettings
from llmops_serve.engines.row import Row
from llmops_serve.engines.sampling import Choice
from llmops_serve.text import ModelText
from llmops_shared.errors import LlmopsError


def serve(connection: Connection, settings: WorkerSettings) -> None:
    """Serves until the other end of the pipe closes."""
    prepare(settings)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the server is gone, and so is the reason to work
        try:
            worker = Worker(connection, settings)
        except LlmopsError as error:
            connection.send(Unloadable(str(error)))
            return
        connection.send(Ready())
        with torch.no_grad():
            while True:
                worker.turn()


def follow(settings: WorkerSettings) -> None:
    """Holds a part of a model that is split and steps it whenever the first process does, until it is killed."""
    prepare(settings)
    batches = Batches(settings, load_model(settings.model, settings.quantize, settings.tensor_parallel))
    with torch.no_grad():
        while True:
            batches.step()


def prepare(settings: WorkerSettings) -> None:
    """What holds for the whole process."""
    # Ctrl-C and service managers signal the whole process group; the server decides when its models end, by closing the pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers_logging.disable_progress_bar()
    use_threads(settings.threads)


class Worker:
    """A model and the answers it is working on."""

    def __init__(self, connection: Connection, settings: WorkerSettings) -> None:
        self._connection = connection
        self._text = ModelText(settings.model)
        model = load_model(settings.model, settings.quantize, settings.tensor_parallel)
        self._end_tokens = end_tokens(model)
        self._batches = Batches(settings, model)
        self._answers: dict[int, Answer] = {}
        self._by_row: dict[int, Answer] = {}

    def turn(self) -> None:
        """Takes what arrived and steps the model once."""
        self._receive()
        try:
            chosen = self._batches.step()
        except (RuntimeError, IndexError) as error:  # out of memory, or a token the model does not know
            self._connection.send(Failed(list(self._answers), f"{type(error).__name__}: {error}"))
            self._answers.clear()
            self._by_row.clear()
            self._batches.clear()
            return
        if chosen:
            self._send(chosen)

    def _receive(self) -> None:
        while self._connection.poll(0 if self._answers else None):
            match self._connection.recv():
                case Generate(number, prompt, sampling):
                    answer = Answer(number, prompt, sampling, self._text)
                    self._answers[number] = self._by_row[id(answer.row)] = answer
                    self._batches.join(answer.row)
                case Cancel(number):
                    if number in self._answers:
                        self._forget([self._answers[number]])

    def _send(self, chosen: list[tuple[Row, Choice]]) -> None:
        advanced = [(answer := self._by_row[id(row)], answer.advance(choice, self._end_tokens)) for row, choice in chosen]
        self._forget([answer for answer, step in advanced if step.finish is not None])
        self._connection.send(Steps([(answer.number, step) for answer, step in advanced]))

    def _forget(self, gone: list[Answer]) -> None:
        self._batches.leave([answer.row for answer in gone])
        for answer in gone:
            del self._answers[answer.number], self._by_row[id(answer.row)]
