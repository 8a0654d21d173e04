"""Servers that misbehave, on the loopback alone: the whole file with its digest, or nothing and a reason."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tokbench.bench import fetch
from tokbench.errors import TokbenchError
from tokbench.weights import web
from tokbench.weights.download import download, reason

CONTENT = bytes(range(256)) * 2_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HALF = 100_000


class Misbehaving:
    """A server that speaks HTTP by hand, so that it can break every rule; the first answers of each kind stop halfway.

    Args:
        kind: Key of ``ANSWERS``.
    """

    def __init__(self, kind: str) -> None:
        self.kind, self.asked = kind, 0
        self.ended = threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/w.bin"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request and (data := client.recv(4096)):
                request += data
            self.asked += 1
            start = 0
            for line in request.decode("latin-1").splitlines():
                if line.lower().startswith("range: bytes="):
                    start = int(line.split("=")[1].rstrip("-"))
            ANSWERS[self.kind](self, client, start)

    def close(self) -> None:
        self.ended.set()
        self.socket.close()


def _send(client: socket.socket, status: str, headers: dict[str, object], body: bytes) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    client.sendall(f"HTTP/1.1 {status}\r\n{lines}Connection: close\r\n\r\n".encode() + body)


def _halfway(server: Misbehaving, client: socket.socket, start: int) -> bool:
    """The first answer: half of the file, so that the next one is asked to go on; and all of it to who begins anew."""
    if server.asked > 1 and start:
        return False
    _send(client, "200 OK", {"Content-Length": len(CONTENT), "ETag": '"one"'}, CONTENT[:HALF] if server.asked == 1 else CONTENT)
    return True


def _wrong_start(server: Misbehaving, client: socket.socket, start: int) -> None:
    if not _halfway(server, client, start):
        at = max(0, start - 1000)
        _send(
            client,
            "206 Partial",
            {"Content-Length": len(CONTENT) - at, "Content-Range": f"bytes {at}-{len(CONTENT) - 1}/{len(CONTENT)}", "ETag": '"one"'},
            CONTENT[at:],
        )


def _other_tag(server: Misbehaving, client: socket.socket, start: int) -> None:
    if not _halfway(server, client, start):
        body = CONTENT[::-1][start:]
        _send(
            client,
            "206 Partial",
            {"Content-Length": len(body), "Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}", "ETag": '"two"'},
            body,
        )


def _other_length(server: Misbehaving, client: socket.socket, start: int) -> None:
    if not _halfway(server, client, start):
        body = CONTENT[start:] + b"more"
        _send(
            client,
            "206 Partial",
            {"Content-Length": len(body), "Content-Range": f"bytes {start}-{len(CONTENT) + 3}/{len(CONTENT) + 4}", "ETag": '"one"'},
            body,
        )


def _no_range(server: Misbehaving, client: socket.socket, start: int) -> None:
    if not _halfway(server, client, start):
        _send(client, "206 Partial", {"Content-Length": len(CONTENT), "ETag": '"one"'}, CONTENT)


def _to_file(server: Misbehaving, client: socket.socket, start: int) -> None:
    _send(client, "302 Found", {"Location": "file:///etc/passwd", "Content-Length": 0}, b"")


def _to_ftp(server: Misbehaving, client: socket.socket, start: int) -> None:
    _send(client, "302 Found", {"Location": "ftp://127.0.0.1/x", "Content-Length": 0}, b"")


def _loop(server: Misbehaving, client: socket.socket, start: int) -> None:
    _send(client, "302 Found", {"Location": server.url, "Content-Length": 0}, b"")


def _hang(server: Misbehaving, client: socket.socket, start: int) -> None:
    server.ended.wait(30)


def _page(server: Misbehaving, client: socket.socket, start: int) -> None:
    body = b"<!DOCTYPE html><html><body>Please log in</body></html>"
    _send(client, "200 OK", {"Content-Type": "text/html", "Content-Length": len(body)}, body)


def _empty(server: Misbehaving, client: socket.socket, start: int) -> None:
    _send(client, "200 OK", {"Content-Length": 0}, b"")


def _short(server: Misbehaving, client: socket.socket, start: int) -> None:
    _send(client, "200 OK", {"Content-Length": len(CONTENT)}, CONTENT[:HALF])


def _long(server: Misbehaving, client: socket.socket, start: int) -> None:
    _send(client, "200 OK", {}, CONTENT + b"and more" * 1000)


def _gzip(server: Misbehaving, client: socket.socket, start: int) -> None:
    body = gzip.compress(CONTENT)
    _send(client, "200 OK", {"Content-Encoding": "gzip", "Content-Length": len(body)}, body)


def _garbage(server: Misbehaving, client: socket.socket, start: int) -> None:
    client.sendall(b"\x00\xff\x1b[31m not HTTP at all\r\n\r\n" + bytes(range(256)))


def _falters(server: Misbehaving, client: socket.socket, start: int) -> None:
    """416 and 500 first, then as it should be."""
    if server.asked <= 2:
        _send(client, ("416 Range Not Satisfiable", "500 Oops \x1b[31m")[server.asked - 1], {"Content-Length": 0}, b"")
    else:
        _send(client, "200 OK", {"Content-Length": len(CONTENT)}, CONTENT)


def _endless_headers(server: Misbehaving, client: socket.socket, start: int) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while not server.ended.is_set():
        client.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")


ANSWERS: dict[str, Callable[[Misbehaving, socket.socket, int], None]] = {
    "range that starts elsewhere": _wrong_start,
    "range of another version": _other_tag,
    "range of another length": _other_length,
    "range without saying which": _no_range,
    "redirect to a file": _to_file,
    "redirect to ftp": _to_ftp,
    "redirect in a loop": _loop,
    "never an answer": _hang,
    "a page of HTML": _page,
    "nothing": _empty,
    "too short": _short,
    "too long": _long,
    "packed by gzip": _gzip,
    "garbage": _garbage,
    "errors, then fine": _falters,
    "endless headers": _endless_headers,
}

WHOLE_AT_LAST = ("errors, then fine", *(name for name in ANSWERS if name.startswith("range")))


@pytest.fixture
def share() -> str:
    """All of them in each test: they are few."""
    return "all"


@pytest.fixture
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Misbehaving]:
    monkeypatch.setattr(web, "TIMEOUT", 0.5)
    monkeypatch.setattr(web, "WINDOW", 1.0)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = Misbehaving(request.param)
    yield server
    server.close()


def _kept(folder: Path) -> list[str]:
    """Files a reader could take for the download."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


@pytest.mark.parametrize("server", ANSWERS, indirect=True)
def test_a_file_comes_whole_or_not_at_all(server: Misbehaving, trial: Callable) -> None:
    attack = trial("servers")
    path = attack.inside / "got" / "w.bin"
    said = []
    for _ in range(4):
        with attack.case(server.kind, seconds=15):
            text = "whole"
            try:
                download(server.url, path, sha256_prefix=DIGEST)
            except (OSError, TokbenchError) as error:
                text = reason(error) if isinstance(error, OSError) else str(error)
            said.append(text)
            assert text.isprintable(), text
            assert text, "no reason"
            whole = not path.exists() or path.read_bytes() == CONTENT
            assert whole, "another content"
    if server.kind in WHOLE_AT_LAST:
        whole = path.read_bytes() == CONTENT
        assert whole, said
    elif not path.exists():
        assert _kept(attack.inside / "got") == []
        assert said
    attack.finish()


@pytest.mark.slow
@pytest.mark.parametrize("server", ANSWERS, indirect=True)
def test_a_file_of_no_known_digest_is_not_spliced(server: Misbehaving, trial: Callable) -> None:
    """Nobody knows what it should be: still no mixture of two, no part and no page."""
    attack = trial("servers")
    path = attack.inside / "got" / "w.bin"
    for _ in range(3):
        with attack.case(server.kind, seconds=15):
            with suppress(OSError):
                download(server.url, path)
            if path.exists() and server.kind not in ("too long", "packed by gzip"):
                whole = path.read_bytes() in (CONTENT, CONTENT[::-1])
                assert whole, "neither one nor the other"
    attack.finish()


@pytest.mark.slow
@pytest.mark.parametrize("server", ANSWERS, indirect=True)
def test_weights_get_says_why(server: Misbehaving, trial: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = trial("servers")
    monkeypatch.setitem(fetch.DOWNLOADS, "inception", server.url)
    with attack.case(server.kind, seconds=20):
        status, text = attack.command("weights", "get", "inception")
        assert status == 2
        assert "\x1b" not in text
    assert _kept(attack.inside / "home") == []
    attack.finish()


def test_there_are_as_many_servers_as_counted(counts: dict[str, int]) -> None:
    assert len(ANSWERS) == counts["servers"]
