"""What the server of the page answers, to whom, and how much it takes."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the page needs the extra app")
from tokbench.app.comparison import Comparer
from tokbench.app.service import MOST_BYTES, make_app
from tokbench.app.studio import Studio
from tokbench.lm.image_model import ImageModel
from tokbench.lm.options import SamplingOptions
from tokbench.lm.reading import Reader
from tokbench.lm.sampling import LEAST_ROWS

PAGE = {"X-Tokbench": "1"}


def ask(address: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(address + path, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def picture(size: tuple[int, int] = (80, 64)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(stream, "PNG")
    return stream.getvalue()


def test_the_page_and_its_files_load_from_here_alone(address: str) -> None:
    for path, kind in (("/", "text/html"), ("/base.css", "text/css"), ("/app.css", "text/css"), ("/app.js", "text/javascript")):
        status, headers, body = ask(address, path)
        assert (status, headers["content-type"].partition(";")[0]) == (200, kind)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert b"http://" not in body.replace(b"http://www.w3.org/", b"")
        assert b"https://" not in body
    for path in ("/app.py", "/../pyproject.toml", "/%2e%2e/pyproject.toml", "/static/app.js"):
        assert ask(address, path)[0] == 404


def test_an_upload_is_compared(address: str) -> None:
    status, _, body = ask(address, "/compare?size=64&tokenizer=pixel/rgb&tokenizer=vqvae/tiny", picture(), PAGE)
    answer = json.loads(body)
    assert (status, answer["size"], [result["name"] for result in answer["results"]]) == (200, [64, 64], ["pixel/rgb", "vqvae/tiny"])
    assert answer["results"][0]["figures"][0] == "PSNR exact"
    status, _, body = ask(address, "/compare?photo=3&tokenizer=pixel/rgb", b"", PAGE)
    assert status == 200
    assert json.loads(body)["results"][0]["figures"][0] == "PSNR exact"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tokenizer=no/such", "choose among pixel/rgb, vqvae/tiny, vae/tiny; got no/such"),
        ("", "choose among pixel/rgb, vqvae/tiny, vae/tiny; got none"),
        ("tokenizer=pixel/rgb&size=999", "the side of a picture is 32 to 512 pixels here, got 999"),
        ("tokenizer=pixel/rgb&size=64x999", "the side of a picture is 32 to 512 pixels here, got 64x999"),
        ("tokenizer=pixel/rgb&size=64.5", "size takes a side of 1 to 8192 px, or height and width such as 576x1024; got '64.5'"),
        ("tokenizer=pixel/rgb&seed=-1", "seed is a whole number from 0, got '-1'"),
        ("tokenizer=pixel/rgb&seed=" + "9" * 5000, "seed is a whole number from 0, got '" + "9" * 40 + "'"),
        ("tokenizer=pixel/rgb&photo=%F0%9F%98%80", "photo is a whole number from 0, got '\N{GRINNING FACE}'"),
    ],
)
def test_what_the_user_can_mend_is_one_line(address: str, query: str, message: str) -> None:
    status, _, body = ask(address, f"/compare?{query}", picture(), PAGE)
    assert (status, json.loads(body)) == (400, {"error": message})


def test_a_file_that_is_no_image_is_refused(address: str) -> None:
    status, _, body = ask(address, "/compare?tokenizer=pixel/rgb", b"#!/bin/sh\n", PAGE)
    assert status == 400
    assert json.loads(body)["error"].startswith("this file is not a readable image")


def test_more_than_it_takes_is_not_read_to_the_end(address: str) -> None:
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    sent, part = 0, b"\0" * (1 << 20)
    connection.putrequest("POST", "/compare?tokenizer=pixel/rgb")
    connection.putheader("X-Tokbench", "1")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    try:
        for _ in range(2 * MOST_BYTES // len(part)):
            connection.send(b"%x\r\n%s\r\n" % (len(part), part))
            sent += len(part)
    except OSError:
        pass  # it hung up, as it may
    else:
        connection.send(b"0\r\n\r\n")
    try:
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["error"] == "the file has more than 32 MB, the most this page takes; choose a smaller one"
    except OSError:
        assert MOST_BYTES < sent < 2 * MOST_BYTES


def test_pages_of_other_sites_ask_in_vain(address: str) -> None:
    assert ask(address, "/", headers={"Host": "evil.example"})[0] == 400
    status, headers, _ = ask(address, "/compare?photo=0&tokenizer=pixel/rgb", b"", {"Origin": "https://evil.example"})
    assert status == 403
    assert not any(name.lower().startswith("access-control") for name in headers)
    assert ask(address, "/compare?photo=0&tokenizer=pixel/rgb")[0] == 405


def test_questions_at_once_are_answered_in_turn(address: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: ask(address, f"/compare?photo={number}&tokenizer=vqvae/tiny", b"", PAGE), [5, 6, 5, 6]))
    assert [status for status, _, _ in answers] == [200] * 4
    assert answers[0][2] == answers[2][2] != answers[1][2] == answers[3][2]


def pixels_of(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("RGB"))


def test_a_model_draws_edits_completes_and_describes(studio_address: str) -> None:
    status, _, body = ask(studio_address, "/draw?words=a+red+circle&seed=3", b"", PAGE)
    drawn = pixels_of(json.loads(body)["picture"])
    assert (status, drawn.shape) == (200, (16, 16, 3))
    assert (drawn == pixels_of(json.loads(ask(studio_address, "/draw?words=a+red+circle&seed=3", b"", PAGE)[2])["picture"])).all()
    assert (drawn != pixels_of(json.loads(ask(studio_address, "/draw?words=a+red+circle&seed=4", b"", PAGE)[2])["picture"])).any()
    for path in ("/edit?words=make+it+green", "/complete?temperature=0.5&guidance=2"):
        status, _, body = ask(studio_address, path, picture(), PAGE)
        assert (status, pixels_of(json.loads(body)["picture"]).shape) == (200, (16, 16, 3))
    status, _, body = ask(studio_address, "/describe", picture(), PAGE)
    assert status == 200
    assert isinstance(json.loads(body)["words"], str)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/draw?words=+", "say in words what you want"),
        ("/draw?words=a&seed=x", "seed is a whole number from 0, got 'x'"),
        ("/draw?words=a&temperature=-1", "temperature must be 0 or more, got -1"),
        ("/draw?words=a&temperature=hot", "temperature is a number, got 'hot'"),
        ("/draw?words=a&guidance=nan", "guidance must be a finite number, got nan"),
        ("/draw?words=" + "a" * 600, "takes"),
        ("/describe", "this file is not a readable image"),
    ],
)
def test_a_model_is_asked_in_vain_in_one_line(studio_address: str, path: str, message: str) -> None:
    status, _, body = ask(studio_address, path, b"no image", PAGE)
    assert status == 400
    assert message in json.loads(body)["error"]


def test_an_answer_is_not_filled_up_to_a_batch(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studio, rows, add = Studio(ImageModel.load(model), "m"), set(), Reader.add
    monkeypatch.setattr(Reader, "add", lambda reader, ids: rows.add(len(ids)) or add(reader, ids))
    options = SamplingOptions()
    for ask_it in (
        studio.describe,
        lambda upload: studio.edit(upload, "red", 0, options),
        lambda upload: studio.complete(upload, 0, options),
    ):
        ask_it(picture())
    studio.draw("red", 0, options)
    assert rows == {LEAST_ROWS}


def test_what_names_no_thing_is_of_the_turn_before(of_scenes: Path, serve: Callable[..., str]) -> None:
    address = serve(make_app(Comparer(["pixel/rgb"]), Studio(ImageModel.load(of_scenes), "tiny")))

    def answer(path: str) -> dict[str, Any]:
        return json.loads(ask(address, path, picture(), PAGE)[2])

    drawn = answer("/draw?words=a+red+circle+left+of+a+blue+square")
    assert drawn["spoken"] == ["the red circle", "the blue square"]
    made = answer("/edit?words=make+the+circle+green&spoken=the+red+circle&spoken=the+blue+square")
    assert (made["instruction"], made["spoken"]) == ("make the circle green", ["the green circle"])
    made = answer("/edit?words=now+larger&spoken=the+green+circle")
    assert (made["instruction"], made["spoken"]) == ("make the green circle larger", ["the green circle"])
    wrong = answer("/edit?words=now+larger&spoken=the+red+circle&spoken=the+blue+square")
    assert wrong["error"].startswith("'now larger' does not say which thing: the red circle or the blue square; name the thing")
    assert answer("/edit?words=now+pink&spoken=the+red+circle")["error"].startswith("'now pink' names no thing, and 'pink' cannot")
    assert b"now larger" in ask(address, "/")[2]


def test_without_a_model_the_page_does_not_draw(address: str) -> None:
    assert ask(address, "/draw?words=a", b"", PAGE)[0] == 404
    assert b'id="studio"' not in ask(address, "/")[2]


def test_the_command_serves_until_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tokbench", "app", "-t", "pixel/rgb", "--port", "0"], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("open http://127.0.0.1:"), line
    address = line.split()[1]
    until = time.monotonic() + 60
    while True:
        try:
            assert ask(address, "/")[0] == 200
            break
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) in (0, 130)
    assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-t", "no/such"], "no/such"),
        (["--port", "70000"], "--port"),
        (["-t", "pixel/rgb", "--host", "203.0.113.7"], "cannot listen on 203.0.113.7:7860"),
    ],
)
def test_mistakes_are_one_line(tokbench_cli, words: list[str], message: str) -> None:  # type: ignore[no-untyped-def]
    status, _, error = tokbench_cli("app", *words)
    assert status == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
