"""Downloads against a server of our own: whole or not at all, resumed only into the same file, one at a time."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from filelock import FileLock

from tokbench.errors import TokbenchError
from tokbench.weights.download import download

CONTENT = bytes(range(256)) * 20_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves one content, with an ETag; drops the connection after some bytes while told to."""

    def __init__(self) -> None:
        self.content, self.etag, self.drop_after, self.ranges = CONTENT, '"one"', 0, True
        self.asked: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/missing":
                    self.send_error(404, "no such file")
                    return
                given, start = self.headers.get("Range"), 0
                server.asked.append(given)
                if given and server.ranges and self.headers.get("If-Range") == server.etag:
                    start = int(given.removeprefix("bytes=").removesuffix("-"))
                    if start >= len(server.content):
                        self.send_error(416)
                        return
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
                else:
                    self.send_response(200)
                body = server.content[start:]
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", server.etag)
                self.end_headers()
                self.wfile.write(body[: server.drop_after] if server.drop_after else body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/w.ckpt"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_a_file_arrives_whole_and_alone(server, tmp_path):
    seen = []
    path = tmp_path / "a" / "w.ckpt"
    assert download(server.url, path, sha256_prefix=DIGEST[:8], progress=lambda done, total: seen.append((done, total))) == DIGEST
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert {item.name for item in path.parent.iterdir()} == {"w.ckpt", ".w.ckpt.lock"}


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    path = tmp_path / "w.ckpt"
    server.drop_after = 3_000_000
    with pytest.raises(OSError, match=r"closed after \d+.*run it again to go on"):
        download(server.url, path)
    assert not path.exists()
    kept = (tmp_path / ".w.ckpt.partial").stat().st_size
    assert 0 < kept <= 3_000_000
    server.drop_after = 0
    assert download(server.url, path) == DIGEST
    assert server.asked == [None, f"bytes={kept}-"]


@pytest.mark.parametrize("change", ["etag", "ranges", "url"])
def test_nothing_is_added_to_another_file(change, server, tmp_path):
    path = tmp_path / "w.ckpt"
    server.drop_after = 1_000_000
    with pytest.raises(OSError, match="run it again"):
        download(server.url, path)
    server.drop_after = 0
    server.content = bytes(reversed(CONTENT))
    if change == "etag":
        server.etag = '"two"'
    server.ranges = change != "ranges"
    url = server.url.replace("w.ckpt", "v.ckpt") if change == "url" else server.url
    assert download(url, path) == hashlib.sha256(server.content).hexdigest()


def test_a_file_that_has_shrunk_starts_anew(server, tmp_path):
    path = tmp_path / "w.ckpt"
    server.drop_after = 1_000_000
    with pytest.raises(OSError, match="run it again"):
        download(server.url, path)
    server.drop_after, server.content = 0, b"short"
    assert download(server.url, path) == hashlib.sha256(b"short").hexdigest()


def test_a_wrong_digest_keeps_nothing(server, tmp_path):
    with pytest.raises(TokbenchError, match=r"has SHA-256 [0-9a-f]{16}, expected 00000000\.\.\.; it was deleted, try again"):
        download(server.url, tmp_path / "w.ckpt", sha256_prefix="00000000")
    assert [path.name for path in tmp_path.iterdir()] == [".w.ckpt.lock"]


def test_a_missing_file_and_a_closed_port_are_errors_of_the_system(server, tmp_path):
    with pytest.raises(OSError, match="404"):
        download(server.url.replace("w.ckpt", "missing"), tmp_path / "w.ckpt")
    with pytest.raises(OSError, match=r"refused|connect"):
        download("http://127.0.0.1:9/w.ckpt", tmp_path / "w.ckpt")
    assert not (tmp_path / "w.ckpt").exists()


def test_two_processes_do_not_write_one_file(server, tmp_path):
    with FileLock(tmp_path / ".w.ckpt.lock"), pytest.raises(TokbenchError, match="another process is downloading"):
        download(server.url, tmp_path / "w.ckpt")
