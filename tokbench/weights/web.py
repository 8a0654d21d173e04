"""One request to a server that nobody vouches for: http and https alone, few redirects, and an end to waiting."""

from __future__ import annotations

import http.client
import socket
import string
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

TIMEOUT = 20.0
"""Seconds without a byte after which a connection is given up."""
WINDOW = 30.0
"""Seconds over which a server's speed is judged."""
SLOWEST = 1000
"""Bytes a second below which a server is given up: one that sends a byte now and then would never meet a timeout."""
MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)


class Watch:
    """Hangs up on a server that has sent too little in a window of time, whatever part of its answer it is at.

    Whoever reads the answer adds to ``done``; what http.client reads by itself (headers, trailers) does not count.
    """

    def __init__(self) -> None:
        self.done = 0
        self.gave_up = False
        self.socket: socket.socket | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Watch:
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _look(self) -> None:
        seen = 0
        while not self._ended.wait(WINDOW):
            if self.done - seen < WINDOW * SLOWEST and self.socket is not None:
                self.gave_up = True
                with suppress(OSError):
                    socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
            seen = self.done


def open_url(url: str, headers: Mapping[str, str], watch: Watch) -> Any:
    """Ask for a file.

    Args:
        url: A URL of http or https; other schemes are refused, here and where it leads.
        headers: Headers of the request.
        watch: Entered; it ends waiting.

    Returns:
        The answer as of ``http.client``; its status is below 300.

    Raises:
        OSError: If there is no such answer, or it is somewhere else than on the web.
    """
    opener, url = _opener(watch), _quoted(url)
    for _ in range(MAX_REDIRECTS + 1):
        if not url.lower().startswith(("http://", "https://")):
            raise OSError(f"it redirects to {url[:100]!r}, which is not of http or https")
        try:
            return opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            place = error.headers.get("Location")
            if error.code not in _REDIRECTS or not place:
                raise
            url = _joined(url, place)
        except (http.client.InvalidURL, UnicodeError) as error:
            raise OSError("no host can be asked for it by that name, or through that proxy") from error
        except (http.client.HTTPException, ValueError) as error:
            slow = "the server sends no answer that ends" if watch.gave_up else f"the server's answer is damaged ({type(error).__name__})"
            raise OSError(slow) from error
    raise OSError(f"it redirects more than {MAX_REDIRECTS} times")


def _quoted(url: str) -> str:
    """A URL as a user writes it, with its spaces and letters other than ASCII as a server takes them; the host keeps its own."""
    parts = urlsplit(url)
    path, query = (quote(part, safe=string.punctuation) for part in (parts.path, parts.query))
    return parts._replace(path=path, query=query).geturl()


def _joined(url: str, place: str) -> str:
    try:
        return quote(urljoin(url, place), safe=string.punctuation)
    except ValueError as error:
        raise OSError(f"it redirects to {place[:100]!r}, which is no URL") from error


def _opener(watch: Watch) -> urllib.request.OpenerDirector:
    """Without handlers for files, FTP and data, and without urllib's redirects, which read bodies of any size and may lead there."""
    opener = urllib.request.OpenerDirector()
    handlers = (
        urllib.request.ProxyHandler(),
        _Http(watch),
        _Https(watch),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    return opener


class _Connection(http.client.HTTPConnection):
    def __init__(self, *args: Any, watch: Watch, **options: Any) -> None:
        super().__init__(*args, **options)
        self.watch = watch

    def connect(self) -> None:
        super().connect()
        self.watch.socket = self.sock


class _SecureConnection(http.client.HTTPSConnection):
    def __init__(self, *args: Any, watch: Watch, **options: Any) -> None:
        super().__init__(*args, **options)
        self.watch = watch

    def connect(self) -> None:
        super().connect()
        self.watch.socket = self.sock


class _Http(urllib.request.HTTPHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(partial(_Connection, watch=self.watch), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(partial(_SecureConnection, watch=self.watch), req)
