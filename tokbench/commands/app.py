"""The command that serves the page to try tokenizers on."""

from __future__ import annotations

import errno
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokbench.commands.console import DeviceOption, say, tokenizer_names
from tokbench.commands.values import whole
from tokbench.errors import TokbenchError

if TYPE_CHECKING:
    from tokbench.app.studio import Studio

LEARNED = ("vqvae/tiny", "vqgan/tiny", "vae/tiny")
"""What the page compares at first, unless others are named."""


def app(
    tokenizer: Annotated[
        list[str] | None,
        typer.Option(
            "--tokenizer",
            "-t",
            autocompletion=tokenizer_names,
            help="Name, folder or module:Class to offer; may be repeated [default: all that need no download].",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="Folder of a language model to draw with [default: the one that comes with tokbench]."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; others than this computer reach 0.0.0.0.")] = "127.0.0.1",
    port: Annotated[int, whole("--port", low=0, high=65535, help="Port to listen on; 0 takes a free one.")] = 7860,
    device: DeviceOption = "cpu",
    open_page: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Serve a page to draw with a model and to drop pictures on: reconstructions, error maps, tokens and figures, side by side.

    It is for this computer alone, unless --host says otherwise. Ctrl-C ends it.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise TokbenchError(f"the page needs more packages ({error}); run: pip install 'tokbench[app]'") from error
    from tokbench.app.comparison import Comparer
    from tokbench.app.service import LOOPBACK, make_app
    from tokbench.tokenizers import zoo

    comparer = Comparer(tokenizer or zoo.ready(), device, chosen=tokenizer or LEARNED)
    for name in tokenizer or ():
        comparer.loaded(name)  # a name that is wrong is told now, not on the page
    studio = _studio(model, device)
    listening = _listen(host, port)
    local = host in LOOPBACK
    address = f"http://{host}:{listening.getsockname()[1]}"
    server = uvicorn.Server(
        uvicorn.Config(make_app(comparer, studio, hosts=LOOPBACK if local else ("*",)), log_level="warning", access_log=False)
    )
    say(f"open {address} in a browser; Ctrl-C ends it")
    if not local:
        say("everyone who reaches this address may use it; there is no password")
    if open_page:
        import webbrowser

        webbrowser.open(address)
    server.run(sockets=[listening])


def _studio(folder: Path | None, device: str) -> Studio | None:
    """The model to draw with; none where none is named and none comes with the package, or what it runs on is not installed."""
    from tokbench.lm.shipped import FOLDER

    place = folder or (FOLDER if FOLDER.is_dir() and find_spec("transformers") else None)
    if place is None:
        return None
    from tokbench.app.studio import Studio
    from tokbench.lm.image_model import ImageModel

    return Studio(ImageModel.load(place, device=device), place.name if folder else "the one that comes with tokbench")


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        way = "choose another --port, or 0 for a free one" if taken else "choose another --host, such as 127.0.0.1, or another --port"
        raise TokbenchError(f"cannot listen on {host}:{port} ({error.strerror or error}); {way}") from error
