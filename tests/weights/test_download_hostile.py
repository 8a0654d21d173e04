"""Servers that answer in other ways than a file: one line each, nothing in its place that is not whole, and an end to waiting."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tokbench.errors import TokbenchError
from tokbench.weights import download as downloads
from tokbench.weights import web
from tokbench.weights.download import download, reason

CONTENT = random.Random(0).randbytes(50_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)
PLAIN = b"HTTP/1.1 200 OK\r\n"
Answer = Callable[[socket.socket, str], None]


class Raw:
    """Answers every request with what a function sends."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/w.ckpt"
        self.answer: Answer = lambda client, request: None
        self.asked: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        with client:
            try:
                request = client.recv(65536).decode("latin-1")
                self.asked.append(request)
                self.answer(client, request)
                client.shutdown(socket.SHUT_WR)
                client.settimeout(1)
                client.recv(1)  # closing at once would reset what is still on its way
            except OSError:
                pass


@pytest.fixture
def raw() -> Iterator[Raw]:
    server = Raw()
    yield server
    server.socket.close()


@pytest.fixture(autouse=True)
def small_unannounced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "LARGEST_UNANNOUNCED", 1 << 20)


LONGEST = 120.0
"""Seconds after which a server that never ends would: whoever waited for that waited for ever."""
IMPATIENT = {"TIMEOUT": 0.5, "WINDOW": 0.6}
"""Seconds that servers are given that never end. All others are waited for, however busy the machine is."""


def sends(*parts: bytes) -> Answer:
    def answer(client: socket.socket, request: str) -> None:
        for part in parts:
            client.sendall(part)

    return answer


def for_ever(head: bytes, part: bytes, pause: float = 0.0) -> Answer:
    """Sends until the other side hangs up."""

    def answer(client: socket.socket, request: str) -> None:
        client.sendall(head)
        until = time.monotonic() + LONGEST
        while time.monotonic() < until:
            client.sendall(part)
            time.sleep(pause)

    return answer


def hangs(head: bytes) -> Answer:
    """Sends no more, and stays until the other side hangs up."""

    def answer(client: socket.socket, request: str) -> None:
        client.sendall(head)
        client.settimeout(LONGEST)
        client.recv(1)

    return answer


def file(*headers: str, body: bytes = CONTENT, length: int | None = None) -> bytes:
    lines = [*headers, f"Content-Length: {len(body) if length is None else length}"]
    return PLAIN + "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")


CHUNKED = PLAIN + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS: dict[str, Answer] = {
    "endless headers": for_ever(PLAIN, b"X: y\r\n" * 100),
    "headers that drip": for_ever(PLAIN, b"X: y\r\n", 0.1),
    "endless continue": for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "hangs before it answers": hangs(b""),
    "hangs in headers": hangs(PLAIN + b"Content-"),
    "hangs in the body": hangs(file(body=CONTENT[:1000], length=SIZE)),
    "drips in the body": for_ever(file(body=b"", length=SIZE), b"x", 0.1),
    "endless without a length": for_ever(PLAIN + b"\r\n", CONTENT),
    "chunks for ever": for_ever(CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    "trailers for ever": for_ever(CHUNKED + b"3\r\nabc\r\n0\r\n", b"X: y\r\n"),
    "redirect with an endless body": for_ever(b"HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\n\r\n", CONTENT),
    "error with an endless body": for_ever(b"HTTP/1.1 500 No\r\n\r\n", CONTENT),
}
MISBEHAVING: dict[str, Answer] = ENDLESS | {
    "nothing": sends(),
    "garbage status line": sends(b"\x00\xff garbage \x1b[31m\r\n\r\n"),
    "no status line": sends(b"hello\r\n\r\n"),
    "status of letters": sends(b"HTTP/1.1 abc OK\r\n\r\n"),
    "escapes in the reason": sends(b"HTTP/1.1 404 \x1b[31mred\x07\r\nContent-Length: 0\r\n\r\n"),
    "long status line": sends(b"HTTP/1.1 200 " + b"x" * 100_000),
    "long header": sends(PLAIN + b"X: " + b"x" * 100_000 + b"\r\n\r\n"),
    "many headers": sends(PLAIN + b"X: y\r\n" * 1000 + b"\r\n"),
    "closes in the body": sends(file(body=CONTENT[:1000], length=SIZE)),
    "no length": sends(PLAIN + b"\r\n" + CONTENT),
    "length of letters": sends(PLAIN + b"Content-Length: many\r\n\r\n" + CONTENT),
    "negative length": sends(PLAIN + b"Content-Length: -5\r\n\r\n" + CONTENT),
    "length of 5000 digits": sends(PLAIN + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + CONTENT),
    "length beyond any disk": sends(PLAIN + b"Content-Length: 900000000000000000\r\n\r\n" + CONTENT),
    "empty": sends(file(body=b"")),
    "no content": sends(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "created": sends(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"),
    "a part not asked for": sends(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-3/9\r\nContent-Length: 4\r\n\r\nabcd"),
    "packed": sends(file("Content-Encoding: gzip")),
    "packed twice": sends(file("Content-Encoding: br, gzip")),
    "web page by type": sends(file("Content-Type: text/html; charset=utf-8")),
    "web page by content": sends(file("Content-Type: application/octet-stream", body=b"\xef\xbb\xbf \n<!DOCTYPE html><p>sign in")),
    "web page in capitals": sends(file(body=b"<HTML><BODY>sign in")),
    "XML error": sends(file("Content-Type: application/xml", body=b'<?xml version="1.0"?><Error/>')),
    "JSON error": sends(file(body=b'{"error": "quota"}')),
    "LFS pointer": sends(file(body=b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")),
    "chunks that break off": sends(CHUNKED + b"10\r\nabc"),
    "chunks without an end": sends(CHUNKED + b"3\r\nabc\r\n"),
    "chunk of letters": sends(CHUNKED + b"xyz\r\nabc\r\n"),
    "negative chunk": sends(CHUNKED + b"-5\r\nabc\r\n"),
    "empty chunks": sends(CHUNKED + b"0\r\n\r\n"),
    "redirect to ftp": sends(redirect("ftp://127.0.0.1/w.ckpt")),
    "redirect to a file": sends(redirect("file:///etc/hostname")),
    "redirect to data": sends(redirect("data:,hello")),
    "redirect to a script": sends(redirect("javascript:alert(1)")),
    "redirect to itself": sends(redirect("/w.ckpt")),
    "redirect nowhere": sends(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"),
    "redirect to no host": sends(redirect("http://")),
    "redirect to a bad port": sends(redirect("http://127.0.0.1:99999999/")),
    "redirect with letters": sends(redirect("http://[::1/\xff\x01")),
    "multipart": sends(b"HTTP/1.1 206 P\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 5\r\n\r\n--x--"),
}


def refused(url: str, path: Path, **patience: float) -> str:
    """Download in vain; one printable line, in bounded time, and nothing in its place."""
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patched:
        for name, seconds in patience.items():
            patched.setattr(web, name, seconds)
        with pytest.raises((OSError, TokbenchError)) as caught:
            download(url, path)
    text = reason(caught.value) if isinstance(caught.value, OSError) else str(caught.value)
    assert text.isprintable()
    assert text
    assert time.monotonic() - began < LONGEST
    assert not path.exists()
    return text


@pytest.mark.parametrize("kind", MISBEHAVING)
def test_a_server_that_misbehaves_is_one_line_and_leaves_no_file(kind: str, raw: Raw, tmp_path: Path) -> None:
    raw.answer = MISBEHAVING[kind]
    refused(raw.url, tmp_path / "w.ckpt", **(IMPATIENT if kind in ENDLESS else {}))
    raw.answer = sends(file('ETag: "good"'))  # and what it left is in nobody's way
    assert download(raw.url, tmp_path / "w.ckpt", sha256_prefix=DIGEST) == DIGEST
    assert {path.name for path in tmp_path.iterdir()} == {"w.ckpt", ".w.ckpt.lock"}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("web page by type", "is a web page, not a file of weights; nothing was kept"),
        ("web page by content", "is a web page, not a file of weights; nothing was kept"),
        ("LFS pointer", "is a pointer of Git LFS, not a file of weights"),
        ("JSON error", "is a JSON text, not a file of weights"),
        ("empty", "sent an empty file, which was deleted"),
        ("packed", "packed as 'gzip', which was not asked for"),
        ("no length", "does not say how long it is"),
        ("redirect to ftp", "redirects to 'ftp://127.0.0.1/w.ckpt', which is not of http or https"),
        ("redirect to a file", "which is not of http or https"),
        ("redirect to itself", "redirects more than 10 times"),
        ("drips in the body", "hardly sends any more after"),
        ("length beyond any disk", "900000000000000000 bytes do not fit into"),
    ],
)
def test_the_line_says_what_came(kind: str, words: str, raw: Raw, tmp_path: Path) -> None:
    raw.answer = MISBEHAVING[kind]
    patience = {"WINDOW": IMPATIENT["WINDOW"]} if kind == "drips in the body" else {}
    assert words in refused(raw.url, tmp_path / "w.ckpt", **patience)


def test_more_than_announced_is_not_taken(raw: Raw, tmp_path: Path) -> None:
    raw.answer = sends(file(), b"and more")
    assert download(raw.url, tmp_path / "w.ckpt") == DIGEST


def test_a_redirect_and_chunks_are_followed(raw: Raw, tmp_path: Path) -> None:
    def answer(client: socket.socket, request: str) -> None:
        if " /w.ckpt " in request:
            client.sendall(redirect("/a%20b c"))
        else:
            client.sendall(CHUNKED + f"{SIZE:x}\r\n".encode() + CONTENT + b"\r\n0\r\n\r\n")

    raw.answer = answer
    assert download(raw.url, tmp_path / "w.ckpt") == DIGEST
    assert "GET /a%20b%20c " in raw.asked[1]


@pytest.mark.parametrize(
    ("path", "asked"),
    [("a b.pt", "a%20b.pt"), ("\u00e4.pt?x=\u00e4 1", "%C3%A4.pt?x=%C3%A4%201"), ("a%20b.pt", "a%20b.pt"), ("\x00\x1b.pt", "%00%1B.pt")],
)
def test_a_url_is_asked_for_as_a_user_writes_it(path: str, asked: str, raw: Raw, tmp_path: Path) -> None:
    raw.answer = sends(file())
    assert download(raw.url.replace("w.ckpt", path), tmp_path / "w.ckpt") == DIGEST
    assert raw.asked[0].startswith(f"GET /{asked} HTTP")


@pytest.mark.parametrize("host", ["....", "a" * 70 + ".example", "127.0.0.1:port", " "])
def test_the_server_is_not_blamed_for_a_name_that_is_none(host: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no host can be asked for it by that name"):
        download(f"http://{host}/w.ckpt", tmp_path / "w.ckpt")


def resumed(first: int, last: int | str, total: int | str, body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 206 Partial", f"Content-Range: bytes {first}-{last}/{total}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_only_the_very_rest_of_the_same_file_is_added(raw: Raw, tmp_path: Path) -> None:
    """Many answers to a request for the rest, most of which are none: the file is always the server's, never a splice."""
    chance = random.Random(1)
    other = bytes(byte ^ 255 for byte in CONTENT)
    spliced = 0
    for case in range(120):
        path = tmp_path / str(case) / "w.ckpt"
        cut = chance.randrange(1, SIZE - 1)
        raw.answer = sends(file('ETag: "one"', body=CONTENT[:cut], length=SIZE))
        refused(raw.url, path)
        here = path.with_name(".w.ckpt.partial").stat().st_size
        start = here if chance.random() < 0.5 else chance.randrange(SIZE)
        end = SIZE if chance.random() < 0.7 else chance.randrange(start, SIZE) + 1
        total = chance.choice([SIZE, SIZE, SIZE, SIZE + 1, "*", 0])
        tag = chance.choice(['"one"', '"one"', '"one"', '"two"', 'W/"one"', None])
        fits = (start, end, total, tag) == (here, SIZE, SIZE, '"one"')
        spliced += not fits
        source = CONTENT if fits else other
        rest = resumed(start, end - 1, total, source[start:end], *([f"ETag: {tag}"] if tag else []))
        whole = file('ETag: "new"', body=source)

        def answer(client: socket.socket, request: str, rest: bytes = rest, whole: bytes = whole) -> None:
            client.sendall(rest if "Range: bytes=" in request else whole)

        raw.answer = answer
        assert download(raw.url, path) == hashlib.sha256(source).hexdigest(), (here, start, end, total, tag)
        assert {item.name for item in path.parent.iterdir()} == {"w.ckpt", ".w.ckpt.lock"}
    assert 60 < spliced < 120


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        '{"url": 1}',
        '{"url": "URL", "version": 7, "total": 5}',
        "[" * 100_000,
        '{"url": "URL", "version": "a\\r\\nX: y", "total": 1}',
    ],
)
def test_a_note_that_is_damaged_starts_anew(note: str, raw: Raw, tmp_path: Path) -> None:
    (tmp_path / ".w.ckpt.partial").write_bytes(b"old")
    (tmp_path / ".w.ckpt.partial.json").write_text(note.replace("URL", raw.url))
    raw.answer = sends(file())
    assert download(raw.url, tmp_path / "w.ckpt") == DIGEST
    assert "Range" not in raw.asked[0]


def test_a_file_of_another_digest_is_deleted_and_the_good_one_stays(raw: Raw, tmp_path: Path) -> None:
    raw.answer = sends(file())
    download(raw.url, tmp_path / "w.ckpt")
    raw.answer = sends(file(body=b"other"))
    with pytest.raises(TokbenchError, match="it was deleted, try again"):
        download(raw.url, tmp_path / "w.ckpt", sha256_prefix=DIGEST)
    assert (tmp_path / "w.ckpt").read_bytes() == CONTENT
    assert {path.name for path in tmp_path.iterdir()} == {"w.ckpt", ".w.ckpt.lock"}
