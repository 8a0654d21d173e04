"""The server of the page: what it answers, to whom, and how much it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from tokbench.app.comparison import SIDES, Comparer
from tokbench.errors import TokbenchError

LOOPBACK = ("127.0.0.1", "localhost")

MOST_BYTES = 32 << 20
"""Of an uploaded file."""

ASKED_BY_PAGE = "x-tokbench"
"""A header that the pages of other sites cannot send: their browsers would ask leave of this server first, which gives none."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

STATIC = {
    "base.css": ("tokbench.report.page", "style.css", "text/css"),
    "app.css": ("tokbench.app", "page/app.css", "text/css"),
    "app.js": ("tokbench.app", "page/app.js", "text/javascript"),
}
"""Files of the page: package, place in it, media type."""

Answer = Callable[[Request], Awaitable[Mapping[str, Any]]]


class TooLarge(TokbenchError):
    """An upload that is not read to its end."""


def make_app(comparer: Comparer, *, hosts: Sequence[str] = LOOPBACK) -> Starlette:
    """Build the server.

    Args:
        comparer: Its tokenizers.
        hosts: Names by which it may be called, ``*`` for any. Others are refused, so that no name of another site leads here.

    Returns:
        An ASGI application, which works on one question at a time.
    """
    turn = asyncio.Lock()

    async def compare(request: Request) -> Mapping[str, Any]:
        asked = request.query_params
        size, seed = (_whole(asked.get(name, usual), name) for name, usual in (("size", "64"), ("seed", "0")))
        if "photo" in asked:
            read = partial(comparer.photo, _whole(asked["photo"], "photo"), size)
        else:
            read = partial(comparer.read, await _body(request), size)
        async with turn:
            pixels = await asyncio.to_thread(read)
            return await asyncio.to_thread(comparer.compare, pixels, asked.getlist("tokenizer"), seed)

    page = _page(comparer)
    routes = [
        Route("/", partial(_given, HTMLResponse(page, headers=HEADERS))),
        *(Route(f"/{name}", partial(_given, _file(*place))) for name, place in STATIC.items()),
        Route("/compare", partial(_answered, compare), methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))])


def _page(comparer: Comparer) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("tokbench.app", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("index.html.j2").render(comparer=comparer, least=SIDES[0], most=SIDES[1])


def _file(package: str, name: str, kind: str) -> Response:
    return Response((files(package) / name).read_text(encoding="utf-8"), media_type=kind, headers=HEADERS)


async def _given(response: Response, request: Request) -> Response:
    return response


async def _answered(answer: Answer, request: Request) -> Response:
    """The answer as JSON; what the user can mend is one line under ``error``."""
    if ASKED_BY_PAGE not in request.headers:
        return JSONResponse({"error": f"only the page itself may ask this (header {ASKED_BY_PAGE})"}, 403, headers=HEADERS)
    try:
        return JSONResponse(await answer(request), headers=HEADERS)
    except TokbenchError as error:
        return JSONResponse({"error": str(error)}, 413 if isinstance(error, TooLarge) else 400, headers=HEADERS)


async def _body(request: Request) -> bytes:
    """The upload, as far as it is no larger than it may be."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise TooLarge(f"the file has more than {MOST_BYTES >> 20} MB, the most this page takes; choose a smaller one")
    return bytes(data)


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise TokbenchError(f"{name} is a whole number from 0, got {text[:40]!r}")
    return int(text)
