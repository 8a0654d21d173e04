"""The page in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture(params=[1280, 390])
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    yield from opened_at(browser, address, request.param)


@pytest.fixture
def studio_of_scenes(browser: Any, serve: Callable[..., str], of_scenes: Path) -> Iterator[Any]:
    from tokbench.app.comparison import Comparer
    from tokbench.app.service import make_app
    from tokbench.app.studio import Studio
    from tokbench.lm.image_model import ImageModel

    yield from opened_at(browser, serve(make_app(Comparer(["pixel/rgb"]), Studio(ImageModel.load(of_scenes), "tiny"))), 390)


@pytest.fixture
def studio(browser: Any, studio_address: str) -> Iterator[Any]:
    yield from opened_at(browser, studio_address, 390)


def opened_at(browser: Any, address: str, width: int) -> Iterator[Any]:
    """The page; it must load nothing from elsewhere, say nothing wrong, and fit."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    opened, said, asked = context.new_page(), [], []
    opened.on("console", lambda message: said.append(message.text) if "400" not in message.text else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda one: asked.append(one.url))
    opened.goto(address)
    yield opened
    assert said == []
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def wait_for(page: Any, selector: str, text: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_contain_text(text, timeout=60_000)


def names(page: Any) -> list[str]:
    return page.locator(".result h3").all_inner_texts()


def test_a_chosen_file_is_compared_and_compared_again(page: Any, tmp_path: Path) -> None:
    Image.new("RGB", (96, 64), (20, 90, 200)).save(tmp_path / "blue.png")
    page.set_input_files("#file", str(tmp_path / "blue.png"))
    page.wait_for_selector(".result")
    assert names(page) == ["original", "pixel/rgb", "vqvae/tiny"]
    assert "PSNR exact" in page.locator(".result").nth(1).inner_text()
    assert page.locator(".result img").evaluate_all("images => images.every(image => image.complete && image.naturalWidth > 0)")
    page.uncheck("input[value='pixel/rgb']")
    page.click("#go")
    wait_for(page, ".result h3 >> nth=1", "vqvae/tiny")
    assert names(page) == ["original", "vqvae/tiny"]


def test_an_embedded_photo_and_mistakes_in_words(page: Any, tmp_path: Path) -> None:
    page.click("#go")
    assert page.locator("#says").inner_text() == "Choose a picture first, or take an embedded photo."
    page.click("#photo")
    page.wait_for_selector(".result")
    (tmp_path / "note.png").write_text("<script>window.pwned = 1</script>")
    page.set_input_files("#file", str(tmp_path / "note.png"))
    wait_for(page, "#says", "this file is not a readable image")
    assert page.evaluate("window.pwned") is None
    assert names(page)  # what was shown stays
    for box in page.locator("input[name=tokenizer]").all():
        box.uncheck()
    page.click("#go")
    assert page.locator("#says").inner_text() == "Choose at least one tokenizer."


def test_a_model_draws_and_edits_in_turns(studio: Any, tmp_path: Path) -> None:
    assert [studio.is_enabled(f"#{name}") for name in ("draw", "edit", "describe", "complete")] == [True, False, False, False]
    studio.fill("#words", "a red circle")
    asked = []
    studio.on("request", lambda one: asked.append(one.url.partition("?")[2]))
    studio.press("#words", "Enter")
    wait_for(studio, "#turns li:first-child", "a red circle")
    studio.fill("#words", "make it green")
    studio.click("#edit")
    wait_for(studio, "#turns li:first-child", "make it green")
    assert [query for query in asked if query] == [
        "seed=0&words=a+red+circle",
        "seed=0&words=make+it+green",
    ]  # the rest as the model has it
    asked.clear()
    studio.fill("#temperature", "0.5")
    studio.click("#describe")
    wait_for(studio, "#turns li:first-child", "It says:")
    studio.click("#complete")
    wait_for(studio, "#turns li:first-child", "lower half drawn anew")
    assert any("temperature=0.5" in query and "guidance" not in query for query in asked)
    Image.new("RGB", (40, 30), (20, 90, 200)).save(tmp_path / "blue.png")
    studio.set_input_files("#own", str(tmp_path / "blue.png"))
    wait_for(studio, "#turns li:first-child", "blue.png")
    studio.click("#edit")
    wait_for(studio, "#turns li:first-child", "make it green")
    assert studio.locator("#turns li").count() == 5
    studio.fill("#words", "")
    studio.click("#edit")
    wait_for(studio, "#studio-says", "say in words what you want")
    assert studio.locator("#turns img").evaluate_all("images => images.every(image => image.naturalWidth > 0)")


def test_what_names_no_thing_is_of_the_turn_before(studio_of_scenes: Any, tmp_path: Path) -> None:
    page, newest = studio_of_scenes, "#turns li:first-child"
    page.fill("#words", "a red circle left of a blue square")
    page.press("#words", "Enter")
    wait_for(page, newest, "a red circle")
    page.fill("#words", "now larger")
    page.click("#edit")
    wait_for(page, "#studio-says", "'now larger' does not say which thing: the red circle or the blue square")
    for words, shown in (("make the circle green", "make the circle green"), ("now larger", "now larger (make the green circle larger)")):
        page.fill("#words", words)
        page.click("#edit")
        wait_for(page, newest, shown)
    page.fill("#words", "now pink")
    page.click("#edit")
    wait_for(page, "#studio-says", "'pink' cannot be understood")
    Image.new("RGB", (40, 30), (130, 130, 130)).save(tmp_path / "empty.png")
    page.set_input_files("#own", str(tmp_path / "empty.png"))
    wait_for(page, newest, "empty.png")
    page.fill("#words", "now larger")
    page.click("#edit")
    wait_for(page, "#studio-says", "none is found in the picture")  # another picture: what was said before is not of it
