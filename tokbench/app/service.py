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
from tokbench.app.studio import Studio
from tokbench.errors import TokbenchError
from tokbench.image_size import parse_size
from tokbench.lm.options import SamplingOptions

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


def make_app(comparer: Comparer, studio: Studio | None = None, *, hosts: Sequence[str] = LOOPBACK) -> Starlette:
    """Build the server.

    Args:
        comparer: Its tokenizers.
        studio: Its model that draws; None leaves that part of the page out.
        hosts: Names by which it may be called, ``*`` for any. Others are refused, so that no name of another site leads here.

    Returns:
        An ASGI application, which works on one question at a time.
    """
    turn = asyncio.Lock()

    async def worked(work: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        async with turn:
            return await asyncio.to_thread(work)

    async def compare(request: Request) -> Mapping[str, Any]:
        asked = request.query_params
        size, seed = parse_size(asked.get("size", "64"), name="size"), _seed(request)
        if "photo" in asked:
            read = partial(comparer.photo, _whole(asked["photo"], "photo"), size)
        else:
            read = partial(comparer.read, await _body(request), size)
        return await worked(lambda: comparer.compare(read(), asked.getlist("tokenizer"), seed))

    page = _page(comparer, studio)
    routes = [
        Route("/", partial(_given, HTMLResponse(page, headers=HEADERS))),
        *(Route(f"/{name}", partial(_given, _file(*place))) for name, place in STATIC.items()),
        Route("/compare", partial(_answered, compare), methods=["POST"]),
        *([] if studio is None else _drawing(studio, worked)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))])


def _drawing(studio: Studio, worked: Callable[[Callable[[], Mapping[str, Any]]], Awaitable[Mapping[str, Any]]]) -> list[Route]:
    """What the page asks of a model."""

    async def draw(request: Request) -> Mapping[str, Any]:
        words, seed, options = _words(request), _seed(request), _options(request)
        return await worked(lambda: studio.draw(words, seed, options))

    async def edit(request: Request) -> Mapping[str, Any]:
        words, seed, options, upload = _words(request), _seed(request), _options(request), await _body(request)
        spoken = request.query_params.getlist("spoken")
        return await worked(lambda: studio.edit(upload, words, seed, options, spoken))

    async def complete(request: Request) -> Mapping[str, Any]:
        seed, options, upload = _seed(request), _options(request), await _body(request)
        return await worked(lambda: studio.complete(upload, seed, options))

    async def describe(request: Request) -> Mapping[str, Any]:
        upload = await _body(request)
        return await worked(lambda: studio.describe(upload))

    asked = {"draw": draw, "edit": edit, "complete": complete, "describe": describe}
    return [Route(f"/{name}", partial(_answered, answer), methods=["POST"]) for name, answer in asked.items()]


def _page(comparer: Comparer, studio: Studio | None) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("tokbench.app", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("index.html.j2").render(comparer=comparer, studio=studio, least=SIDES[0], most=SIDES[1])


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


def _words(request: Request) -> str:
    words = request.query_params.get("words", "").strip()
    if not words:
        raise TokbenchError("say in words what you want")
    return words


def _seed(request: Request) -> int:
    return _whole(request.query_params.get("seed", "0"), "seed")


def _options(request: Request) -> SamplingOptions:
    """How it is sampled; what is out of range is refused in words."""
    values = {}
    for name in ("temperature", "guidance"):
        if (text := request.query_params.get(name)) is None:
            continue
        try:
            values[name] = float(text)
        except ValueError as error:
            raise TokbenchError(f"{name} is a number, got {text[:40]!r}") from error
    try:
        return SamplingOptions(temperature=values.get("temperature"), guidance=values.get("guidance"))
    except ValueError as error:
        raise TokbenchError(str(error)) from error


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise TokbenchError(f"{name} is a whole number from 0, got {text[:40]!r}")
    return int(text)
