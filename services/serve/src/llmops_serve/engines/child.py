"""Where the process of a model begins. The server refers to it by name and so must not load torch with it."""

from multiprocessing.connection import Connection

from llmops_serve.engines.messages import WorkerSettings


def work(connection: Connection, settings: WorkerSettings) -> None:
    """Serves until the other end of the pipe closes."""
    from llmops_serve.engines.worker import serve

    serve(connection, settings)
