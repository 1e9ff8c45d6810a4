"""Where the process of a model begins. The server refers to it by name and so must not load torch with it."""

from multiprocessing.connection import Connection

from llmops_serve.engines.messages import WorkerSettings


def work(connection: Connection, settings: WorkerSettings) -> None:
    """Serves until the other end of the pipe closes."""
    from llmops_serve.engines.worker import serve

    serve(connection, settings)


def work_split(connection: Connection | None, settings: WorkerSettings, rank: int, address: str) -> None:
    """One part of a model that is split; the first one has the pipe. `address` is where the parts meet."""
    import os

    host, _, port = address.rpartition(":")
    size = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": settings.tensor_parallel, "MASTER_ADDR": host, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in size.items()} | {"GLOO_SOCKET_IFNAME": "lo"})
    if connection is None:
        from llmops_serve.engines.worker import follow

        follow(settings)
    else:
        work(connection, settings)
