"""The page's server, running in a thread of the tests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture(scope="package")
def serve() -> Iterator[Callable[..., str]]:
    """Serves an application and says at which address."""
    uvicorn = pytest.importorskip("uvicorn", reason="the page needs the extra app")
    running = []

    def start(app: object) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread, listening))
        until = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < until
            time.sleep(0.01)
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield start
    for server, thread, listening in running:
        server.should_exit = True
        thread.join(30)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture(scope="package")
def address(serve: Callable[..., str]) -> str:
    """Where the page is, with three tokenizers."""
    from tokbench.app.comparison import Comparer
    from tokbench.app.service import make_app

    return serve(make_app(Comparer(["pixel/rgb", "vqvae/tiny", "vae/tiny"], chosen=["pixel/rgb", "vqvae/tiny"])))
