"""The page's server, running in a thread of the tests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tokbench
from tokbench.feed import ByteText, Vocabulary, identify
from tokbench.lm.model import LanguageModel


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


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of random weights: 16 px images of 4 by 4 codes of ``patch``."""
    return saved(tmp_path_factory.mktemp("model"), {"stages": []})


@pytest.fixture(scope="session")
def of_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, said to have learned scenes."""
    return saved(tmp_path_factory.mktemp("scenes"), {"stages": [{"data": {"name": "scenes"}}]})


def saved(folder: Path, recipe: dict[str, Any]) -> Path:
    pytest.importorskip("transformers", reason="a model needs the extra lm")
    from tokbench.lm.build import tiny_network
    from tokbench.lm.recipes import NetworkSizes

    tokenizer = tokbench.load("patch")
    layout = tokenizer.layout(16, 16)
    vocabulary = Vocabulary.over(ByteText(), layout, identify(tokenizer))
    network = tiny_network(vocabulary, NetworkSizes(2, 16, 2, 32, 512), seed=0)
    LanguageModel(network, vocabulary, (16, 16), layout.grid, recipe).save(folder)
    return folder


@pytest.fixture(scope="package")
def studio_address(serve: Callable[..., str], model: Path) -> str:
    """Where the page is that also draws."""
    from tokbench.app.comparison import Comparer
    from tokbench.app.service import make_app
    from tokbench.app.studio import Studio
    from tokbench.lm.image_model import ImageModel

    return serve(make_app(Comparer(["pixel/rgb"]), Studio(ImageModel.load(model), "tiny")))


@pytest.fixture(scope="package")
def address(serve: Callable[..., str]) -> str:
    """Where the page is, with three tokenizers."""
    from tokbench.app.comparison import Comparer
    from tokbench.app.service import make_app

    return serve(make_app(Comparer(["pixel/rgb", "vqvae/tiny", "vae/tiny"], chosen=["pixel/rgb", "vqvae/tiny"])))
