"""The page in a real browser: what it does, that it loads nothing, and that it fits and can be read."""

import base64
import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokbench.bench.record import MetricResult
from tokbench.report.page.model import Measured, arrange
from tokbench.report.page.render import Shown, render_page

CHROMIUM = Path("/usr/bin/chromium")
SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--disable-quic",
]  # fmt: skip
HOSTILE = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>\"'` \u2028</script>"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=str(CHROMIUM), args=SWITCHES)
        yield running
        running.close()


class Opened:
    """A page with everything the browser complained about or asked the network for."""

    def __init__(self, browser, path, **context):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | context)
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message) or dialog.dismiss())
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def check(self):
        assert self.said == []
        assert {url for url in self.asked if not url.startswith("data:")} == {self.url}


@pytest.fixture
def opened(browser):
    pages = []

    def open_page(path, **context):
        pages.append(Opened(browser, path, **context))
        return pages[-1].page

    yield open_page
    for page in pages:
        page.check()
        page.context.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def plain(folder, make_record, make_pictures):
    """Four tokenizers, one without LPIPS, one perfect; three pictures."""
    items = [
        make_record("vq/plain", seed=1),
        make_record("vq/better", seed=2, better=2.0),
        make_record("bits/flat", seed=3, grid=(16,)),
        make_record("pixel/rgb", seed=4, bits=98304.0),
        make_record("anchor/webp-320", seed=5, bits=2484.0),
    ]
    no_lpips = {key: value for key, value in items[2].record.metrics.items() if key != "lpips"}
    items[2] = replace(items[2], record=replace(items[2].record, metrics=no_lpips), rows={"psnr": items[2].rows["psnr"]})
    items[3] = replace(
        items[3], record=replace(items[3].record, metrics=items[3].record.metrics | {"psnr": MetricResult(math.inf, "dB", True)})
    )
    codec = replace(items[4].record, codebooks=(), tokens=replace(items[4].record.tokens, codebook_sizes=(), tokens_per_image=None))
    items[4] = replace(items[4], record=codec)
    return write(folder / "plain.html", items, make_pictures)


def write(path, items, make_pictures, count=3):
    groups = arrange(items)
    shown = []
    for group in groups:
        ids = sorted({name for entry in group.entries for column in entry.rows.values() for name in column})[:count]
        shown.append(Shown(*make_pictures(group, ids)))
    path.write_text(render_page(groups, shown), encoding="utf-8")
    return path


def names(page):
    return page.locator(".figures tbody tr:visible .who").all_inner_texts()


def column(page, key):
    return page.locator(f".figures thead th[data-key='{key}']")


def test_sorting(opened, plain):
    page = opened(plain)
    before = names(page)
    psnr = column(page, "psnr")
    psnr.get_by_role("button").click()
    assert psnr.get_attribute("aria-sort") == "descending"  # higher is better: the best comes first
    assert names(page)[0] == "pixel/rgb"
    psnr.get_by_role("button").press("Enter")
    assert psnr.get_attribute("aria-sort") == "ascending"
    assert names(page)[-1] == "pixel/rgb"
    psnr.get_by_role("button").press("Space")
    assert psnr.get_attribute("aria-sort") == "none"
    assert names(page) == before
    column(page, "lpips").get_by_role("button").click()
    assert names(page)[0] == "vq/better"
    assert names(page)[-1] == "bits/flat"  # without a figure: last in either direction
    column(page, "lpips").get_by_role("button").click()
    assert names(page)[-1] == "bits/flat"
    page.get_by_role("button", name="Tokenizer", exact=True).click()
    assert names(page) == sorted(before)


def test_filtering(opened, plain):
    page = opened(plain)
    count = page.locator("#count")
    page.fill("#filter", "vq")
    assert names(page) == ["vq/plain", "vq/better"]
    assert count.inner_text() == "2 of 5 shown"
    assert (
        page.locator(".plot .mark:visible").count()
        == page.locator(".plot .mark[data-e='0']:visible, .plot .mark[data-e='1']:visible").count()
    )
    assert page.locator(".shot[data-e='2']:visible, .view[data-e='2']:visible, .mini[data-e='2']:visible").count() == 0
    page.fill("#filter", "vq lpips<0.08")
    assert names(page) == ["vq/better"]
    page.fill("#filter", "usage>=97 psnr>1e9")
    assert names(page) == ["pixel/rgb"]  # usage is written, and asked for, in per cent; infinity is above everything
    page.fill("#filter", "lpips>0")
    assert "bits/flat" not in names(page)
    page.fill("#filter", "nothing-like-it")
    assert names(page) == []
    assert page.get_by_text("No tokenizer fits the filter.").is_visible()
    page.press("#filter", "Escape")
    assert len(names(page)) == 5
    chip = page.locator(".chip", has_text="vq/better")
    chip.press("Space")
    assert chip.get_attribute("aria-pressed") == "false"
    assert "vq/better" not in names(page)
    page.click("#none")
    assert names(page) == []
    page.click("#all")
    assert len(names(page)) == 5


def painted(page):
    """Wait until the page has been painted as it stands."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_hints_by_pointer_and_keyboard(opened, plain):
    page = opened(plain)
    tip = page.locator("#tip")
    mark = page.locator("#rate-0 .mark[data-e='0'] .hit").first
    mark.scroll_into_view_if_needed()
    painted(page)  # scrolling is told to the page with its next picture, and takes hints away
    mark.hover(force=True)
    assert "vq/plain" in tip.inner_text()  # another mark lies on this one: both speak
    assert "bits/flat" in tip.inner_text()
    assert page.locator(".mark.hot").count() >= 3  # lit in every plot
    page.mouse.move(2, 2)
    assert tip.is_hidden()
    chart = page.locator("#rate-0 .chart").first
    chart.focus()
    seen = []
    for _ in range(5):
        chart.press("ArrowRight")
        seen.append(tip.inner_text().split("\n")[0])
    assert sorted(seen) == ["anchor/webp-320", "bits/flat", "pixel/rgb", "vq/better", "vq/plain"]
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    heading = column(page, "lpips").get_by_role("button")
    heading.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert "lower is better" in tip.inner_text()


def test_every_control_is_reached_by_keyboard_alone(opened, plain):
    page = opened(plain)
    reached = set()
    for _ in range(90):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(e => e.id || e.getAttribute('class') || e.tagName)(document.activeElement)"))
    assert {"skip", "theme", "filter", "all", "none", "chip", "sort", "scroll", "chart", "reasons", "errors quiet", "open"} <= reached


def test_the_viewer(opened, plain, make_pictures):
    page = opened(plain)
    first = page.locator(".gallery .image").first
    button = first.locator(".shot[data-e='0'] .open")
    button.focus()
    page.keyboard.press("Enter")
    viewer = page.locator("#viewer")
    assert viewer.get_attribute("open") is not None
    assert page.locator("#left").evaluate("s => s.selectedOptions[0].textContent") == "original"
    assert page.locator("#right").evaluate("s => s.selectedOptions[0].textContent") == "vq/plain"
    layer = page.locator("#right-layer")

    wipe = page.locator("#wipe")
    wipe.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert layer.evaluate("e => e.style.clipPath") == "inset(0px 0px 0px 60%)"
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    page.mouse.up()
    assert layer.evaluate("e => e.style.clipPath") == "inset(0px 0px 0px 25%)"
    assert wipe.input_value() == "25"

    page.locator("#stage").focus()
    page.keyboard.press("+")
    assert page.locator("#zoom-value").inner_text() == "2\N{MULTIPLICATION SIGN}"
    before = page.locator("#left-layer img").evaluate("e => e.style.transform")
    page.keyboard.press("ArrowRight")
    assert page.locator("#left-layer img").evaluate("e => e.style.transform") != before
    assert page.locator("#left-layer img").evaluate("e => e.style.transform") == page.locator("#right-layer img").evaluate(
        "e => e.style.transform"
    )
    page.mouse.wheel(0, 0)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -300)
    assert page.locator("#zoom-value").inner_text() == "5.4\N{MULTIPLICATION SIGN}"
    page.keyboard.press("0")
    assert page.locator("#zoom-value").inner_text() == "1\N{MULTIPLICATION SIGN}"

    title = page.locator("#viewer-title")
    here = title.inner_text()
    page.keyboard.press("]")
    assert title.inner_text() != here
    assert page.locator("#right").evaluate("s => s.selectedOptions[0].textContent") == "vq/plain"
    page.click("#previous")
    assert title.inner_text() == here
    page.select_option("#left", label="vq/better")
    row = page.locator(".values tbody tr", has_text="LPIPS").locator("td")
    assert [len(text) for text in row.all_inner_texts()] == [6, 6]
    assert "wins" in row.first.get_attribute("class")
    page.keyboard.press("Escape")
    assert viewer.get_attribute("open") is None
    assert button.evaluate("e => e === document.activeElement")


def picture(page, selector):
    source = page.locator(selector).first.evaluate("e => e.tagName === 'CANVAS' ? e.toDataURL() : e.src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))).convert("RGB"))


def test_error_maps_are_those_of_the_grid(opened, plain):
    page = opened(plain)
    page.click(".errors")
    shot = ".gallery .image:first-of-type .shot[data-e='1']"
    page.locator(f"{shot} canvas").wait_for(state="attached")
    original, made = picture(page, ".gallery .image:first-of-type .original img"), picture(page, f"{shot} img")
    expected = 255 - np.clip(4 * np.abs(original.astype(int) - made).mean(axis=2, keepdims=True), 0, 255)
    assert np.abs(picture(page, f"{shot} canvas") - expected).max() <= 1  # grey, so one channel stands for all
    page.click(".errors")
    assert page.locator(".shots canvas").count() == 0
    page.locator(f"{shot} .open").click()
    page.click("#mode-error")
    page.wait_for_function("document.querySelector('#error-layer canvas').width === 16")
    assert np.abs(picture(page, "#error-layer canvas") - expected).max() <= 1
    page.locator("#gain").fill("8")
    page.wait_for_function("document.querySelector('#error-layer canvas').dataset.drawn === '8'")
    darker = 255 - np.clip(np.abs(original.astype(int) - made).mean(axis=2) * 8, 0, 255)
    assert np.abs(picture(page, "#error-layer canvas")[..., 0] - darker).max() <= 1
    page.click("#close")


def test_images_are_chosen_by_reason(opened, plain):
    page = opened(plain)
    select = page.locator(".reasons")
    assert select.locator("option").all_inner_texts() == [
        "all 3",
        "best SSIM",
        "largest difference in LPIPS",
        "median LPIPS",
        "worst PSNR dB",
    ]
    select.select_option("best SSIM")
    assert page.locator(".gallery .image:visible").count() == 1
    select.select_option("")
    assert page.locator(".gallery .image:visible").count() == 3


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_and_can_be_read(opened, plain, width, theme):
    page = opened(plain, viewport={"width": width, "height": 800}, color_scheme=theme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    dark = theme == "dark"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(ground) < 0.1) == dark
    for selector, least in (
        ("body", 7), (".lead", 4.5), (".hint", 4.5), (".figures small", 4.5), (".part-head a", 4.5), (".warnings h2", 4.5), (".chip", 4.5),
    ):  # fmt: skip
        colour, on = page.locator(selector).first.evaluate(
            """e => { let b = e; while (getComputedStyle(b).backgroundColor === 'rgba(0, 0, 0, 0)') b = b.parentElement;
               return [getComputedStyle(e).color, getComputedStyle(b).backgroundColor]; }"""
        )
        assert contrast(colour, on) >= least, selector
    marks = page.evaluate(
        """[0,1,2,3,4,5,6,7].map(i => { const e = document.createElement('i'); e.style.color = `var(--c${i})`; document.body.append(e);
           const c = getComputedStyle(e).color; e.remove(); return c; })"""
    )
    assert len(set(marks)) == 8
    assert min(contrast(colour, ground) for colour in marks) >= 3
    scroll = page.locator(".scroll").first
    name = page.locator(".figures tbody .name").first
    before = name.bounding_box()["x"]
    scroll.evaluate("e => { e.scrollLeft = 400; }")
    assert name.bounding_box()["x"] == pytest.approx(before, abs=1)
    assert page.evaluate("scrollX") == 0
    text = page.locator("#rate-0 .ticks text").first
    assert text.evaluate("e => e.getBoundingClientRect().height") >= 8


def luminance(colour):
    parts = [float(part) / 255 for part in colour.split("(")[1].rstrip(")").split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_theme_can_be_chosen(opened, plain):
    page = opened(plain, color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.get_by_role("button", name="Theme")
    button.click()
    assert page.evaluate(ground) == light
    button.press("Enter")
    assert "dark" in button.inner_text()
    assert page.evaluate(ground) != light
    page.reload()
    assert page.evaluate(ground) != light
    button.click()
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_moves_while_it_loads(opened, browser, plain, width):
    page = opened(plain, viewport={"width": width, "height": 800})
    shifts = page.evaluate(
        """() => new Promise(done => { let sum = 0;
           new PerformanceObserver(list => { for (const e of list.getEntries()) sum += e.value; }).observe({type: 'layout-shift', buffered: true});
           setTimeout(() => done(sum), 100); })"""
    )
    assert shifts < 0.01
    context = browser.new_context(java_script_enabled=False, viewport={"width": width, "height": 800})
    before = context.new_page()  # what is painted before the script has run
    before.goto(plain.as_uri())
    before.evaluate("document.querySelector('.no-script').remove()")
    for selector in ("h1", ".bar", "#figures-0 table", "#rate-0 svg", "#gallery-0 .shot", "#commands pre"):
        assert page.locator(selector).first.bounding_box() == before.locator(selector).first.bounding_box(), selector
    context.close()


def test_paper_shows_all_of_it_and_no_controls(opened, plain):
    page = opened(plain)
    page.emulate_media(media="print")
    for selector in (".bar", "#theme", ".tools"):
        assert page.locator(selector).first.is_hidden(), selector
    assert page.locator(".scroll").first.evaluate("e => getComputedStyle(e).overflowX") == "visible"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0


def test_a_hostile_record_does_nothing(opened, folder, make_record, make_pictures):
    items = []
    for i in range(2):
        item = make_record("family/a", seed=i)
        record = replace(
            item.record,
            tokenizer=replace(item.record.tokenizer, name=f"{HOSTILE}{i}" + "x" * 50_000, config={HOSTILE: HOSTILE}),
            data=replace(item.record.data, name=HOSTILE),
            protocol_label=HOSTILE,
            metrics=item.record.metrics | {"ssim": MetricResult(math.nan, HOSTILE, True), "rfid": MetricResult(reason=HOSTILE)},
            environment=replace(item.record.environment, processor=HOSTILE),
        )
        rows = {key: {f'{name}"{HOSTILE}': value for name, value in values.items()} for key, values in item.rows.items()}
        items.append(Measured(f'"{HOSTILE}.json', record, rows))
    page = opened(write(folder / "hostile.html", items, make_pictures), viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator(".gallery .open").nth(1).click()
    page.keyboard.press("]")
    page.click("#close")
    page.locator("#rate-0 .chart").first.press("ArrowRight")
    assert "<script>" in page.locator("#tip").inner_text()
    page.fill("#filter", HOSTILE[:20])
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.evaluate("document.scripts.length") == 2
    assert "<script>window.pwned=1</script>" in page.locator("h2").nth(1).inner_text()


def test_one_tokenizer_and_forty(opened, folder, make_record, make_pictures):
    page = opened(write(folder / "one.html", [make_record("family/a")], make_pictures))
    assert page.locator("h1").inner_text() == "family/a"
    assert page.locator(".figures strong.best").count() == 0
    many = [make_record(f"family{i % 7}/variant-{i}", seed=i, better=0.1 * i, images=30) for i in range(40)]
    page = opened(write(folder / "forty.html", many, make_pictures, count=8))
    assert len(names(page)) == 40
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    assert page.locator(".gallery .image:visible").count() == 6  # the rest on request
    page.locator(".reasons").select_option("")
    assert page.locator(".gallery .image:visible").count() == 8
    column(page, "psnr").get_by_role("button").click()
    assert names(page)[0] == "family4/variant-39"
    head = page.locator(".figures thead th").first
    before = head.bounding_box()["y"]
    page.locator(".scroll").first.evaluate("e => { e.scrollTop = 300; }")
    assert head.bounding_box()["y"] == pytest.approx(before, abs=1)
    page.fill("#filter", "variant-3")
    assert page.locator("#count").inner_text() == "11 of 40 shown"


def test_without_scripts_all_figures_are_there(browser, plain):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(plain.as_uri())
    assert page.locator(".figures tbody tr").count() == 5
    assert page.get_by_text("Without scripts this page shows everything").is_visible()
    assert page.locator(".sort:enabled, .chip:enabled, .open:enabled").count() == 0
    context.close()
