"""The page in a real browser: what it does, that it loads nothing, and that it fits and can be read."""

import base64
import io
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokbench.records.correlation import RankCorrelation
from tokbench.records.examples import Example
from tokbench.records.record import MetricResult
from tokbench.records.store import find_records
from tokbench.report.beforehand import Source
from tokbench.report.page.leading import leading
from tokbench.report.page.model import Measured, arrange
from tokbench.report.page.models import Evaluated
from tokbench.report.page.render import Shown, models_section, probe_section, render_page
from tokbench.report.telling import Pair, Study, Telling

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

    def __init__(self, browser, path, *, as_is=False, **context):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | context)
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message) or dialog.dismiss())
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)
        if not as_is:  # with all sections open, and codecs
            self.page.evaluate("all('details.fold').forEach((fold) => { fold.open = true; }); $('codecs')?.click()")

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
    items[3] = replace(items[3], rows=items[3].rows | {"psnr": dict.fromkeys(items[3].rows["psnr"], math.inf)})
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


@pytest.fixture(scope="module")
def models(folder, make_model, make_record, make_pictures):
    """Three stages on two splits, with a drawing and a description each, beside a tokenizer."""
    found = []
    for stages, name in enumerate(("pretrain", "quality", "dpo"), start=1):
        for split in ("test", "held-out"):
            record, rows = make_model(name, stages=stages, split=split, better=0.05 * stages)
            scene, answer = np.full((16, 16, 3), 200, np.uint8), np.full((16, 16, 3), 40 * stages, np.uint8)
            examples = [
                Example("generate", f"{split}-0", "a red circle " * 9, right=scene, answer=answer),
                Example("describe", f"{split}-0", shown=(scene,), text="a red circle " * 9),
            ]
            found.append(Evaluated(f"{name}.json", record, rows, examples))
    groups = arrange([make_record("vq/plain")])
    path = folder / "models.html"
    path.write_text(render_page(groups, [None], extra=[models_section(found)]), encoding="utf-8")
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
    for _ in range(160):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(e => e.id || e.getAttribute('class') || e.tagName)(document.activeElement)"))
    assert {
        "skip",
        "folds",
        "theme",
        "filter",
        "all",
        "none",
        "codecs",
        "chip",
        "sort",
        "scroll",
        "chart",
        "reasons",
        "errors quiet",
        "open",
    } <= reached


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
    page.select_option("#right", label="pixel/rgb")
    exact = page.locator(".values tbody tr", has_text="PSNR").locator("td").last
    assert exact.inner_text() == "exact"
    assert "wins" in exact.get_attribute("class")
    page.keyboard.press("Escape")
    assert viewer.get_attribute("open") is None
    assert button.evaluate("e => e === document.activeElement")


def picture(page, selector):
    source = page.locator(selector).first.evaluate("e => e.tagName === 'CANVAS' ? e.toDataURL() : e.src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))).convert("RGB"))


def test_error_maps_are_those_of_the_grid(opened, plain):
    page = opened(plain)
    assert not page.locator(".gallery .error-scale").first.is_visible()
    page.click(".errors")
    assert "255 \N{MINUS SIGN} 4 \N{MULTIPLICATION SIGN} d" in page.locator(".gallery .error-scale").first.inner_text()
    shot = ".gallery .image:first-of-type .shot[data-e='1']"
    page.locator(f"{shot} canvas").wait_for(state="attached")
    original, made = picture(page, ".gallery .image:first-of-type .original img"), picture(page, f"{shot} img")
    expected = 255 - np.clip(4 * np.abs(original.astype(int) - made).mean(axis=2, keepdims=True), 0, 255)
    assert np.abs(picture(page, f"{shot} canvas") - expected).max() <= 1  # grey, so one channel stands for all
    page.click(".errors")
    assert page.locator(".shots canvas").count() == 0
    page.locator(f"{shot} .open").click()
    page.click("#mode-error")
    page.wait_for_function("() => document.querySelector('#error-layer canvas').width === 16")
    assert np.abs(picture(page, "#error-layer canvas") - expected).max() <= 1
    page.locator("#gain").fill("8")
    page.wait_for_function("() => document.querySelector('#error-layer canvas').dataset.drawn === '8'")
    darker = 255 - np.clip(np.abs(original.astype(int) - made).mean(axis=2) * 8, 0, 255)
    assert np.abs(picture(page, "#error-layer canvas")[..., 0] - darker).max() <= 1
    scale = page.locator("#gain-scale").inner_text()
    assert "255 \N{MINUS SIGN} 8 \N{MULTIPLICATION SIGN} d" in scale
    assert "31.88 and more" in scale
    page.click("#mode-wipe")
    assert not page.locator("#gain-scale").is_visible()
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


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_language_models_fit_and_can_be_read(opened, models, width, theme):
    page = opened(models, viewport={"width": width, "height": 800}, color_scheme=theme)
    for details in page.locator("#models details").all():
        details.evaluate("e => { e.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for selector in ("small", ".splits th", ".who", ".said dd", ".axis"):
        colour, on = page.locator(f"#models {selector}").first.evaluate(
            """e => { const s = getComputedStyle(e); let b = e; while (getComputedStyle(b).backgroundColor === 'rgba(0, 0, 0, 0)') b = b.parentElement;
               return [e instanceof SVGElement ? s.fill : s.color, getComputedStyle(b).backgroundColor]; }"""
        )
        assert contrast(colour, on) >= 4.5, selector
    name = page.locator(".models tbody .name").first
    before = name.bounding_box()["x"]
    page.locator("#models .scroll").first.evaluate("e => { e.scrollLeft = 300; }")
    assert name.bounding_box()["x"] == pytest.approx(before, abs=1)
    for row in page.locator("#models .dots text").all()[:3]:
        assert row.evaluate("e => e.getBoundingClientRect().height") >= 8
    assert page.locator("#models .asked img").first.bounding_box()["width"] <= 160


def test_language_models_by_keyboard_and_beside_a_filter(opened, models):
    page = opened(models)
    page.fill("#filter", "nothing-like-it")
    assert page.locator("#models .mark:visible, #models .shot:visible").count() > 10  # the filter does not reach them
    chart = page.locator("#models .dots").first
    chart.focus()
    chart.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith("pretrain, test\nparts right % 75.")
    assert page.locator("#models .mark.hot").count() == 1
    chart.press("End")
    assert page.locator("#tip").inner_text().startswith("dpo, held-out\n")
    page.keyboard.press("Escape")
    summary = page.locator("#models summary", has_text="Described: test")
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("#models .said dt:visible").all_inner_texts() == ["pretrain", "quality", "dpo"]


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
    page.wait_for_function(f"{ground} == '{light}'")
    button.press("Enter")
    assert "dark" in button.inner_text()
    page.wait_for_function(f"{ground} != '{light}'")  # a busy browser paints later than it answers
    page.reload()
    page.wait_for_function(f"{ground} != '{light}'")
    button.click()
    page.wait_for_function(f"{ground} == '{light}'")


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_moves_while_it_loads(opened, browser, plain, width):
    shifts = opened(plain, as_is=True, viewport={"width": width, "height": 800}).evaluate(
        """() => new Promise(done => { let sum = 0;
           new PerformanceObserver(list => { for (const e of list.getEntries()) sum += e.value; }).observe({type: 'layout-shift', buffered: true});
           setTimeout(() => done(sum), 100); })"""
    )
    assert shifts < 0.01
    page = opened(plain, viewport={"width": width, "height": 800})
    context = browser.new_context(java_script_enabled=False, viewport={"width": width, "height": 800})
    before = context.new_page()  # what is painted before the script has run
    before.goto(plain.as_uri())
    before.evaluate("document.querySelector('.no-script').remove()")
    before.evaluate("document.querySelectorAll('details.fold').forEach((fold) => { fold.open = true; })")
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


def test_codecs_stand_aside_until_they_are_asked_for(opened, plain):
    page = opened(plain, as_is=True)
    switch, count = page.locator("#codecs"), page.locator("#count")
    page.click("#folds")
    seen = ".figures .of-codec:visible, .chip.of-codec:visible, .matrix .of-codec:visible, .shot.of-codec:visible, .mark.codec:visible"
    for _ in range(2):
        assert switch.get_attribute("aria-pressed") == "false"
        assert count.inner_text() == "4 of 4 shown, 1 codec aside"
        assert names(page) == ["vq/plain", "vq/better", "bits/flat", "pixel/rgb"]
        assert page.locator(seen).count() == 0
        assert page.locator(".shot:visible").count() == 3 * 5  # originals and four tokenizers
        page.fill("#filter", "anchor")
        assert names(page) == []
        page.press("#filter", "Escape")
        switch.press("Enter")
        assert count.inner_text() == "5 of 5 shown"
        assert names(page)[-1] == "anchor/webp-320"
        assert all(page.locator(part).count() for part in seen.split(", "))
        switch.press("Space")


def test_sections_fold_and_links_open_what_they_point_at(opened, plain):
    page = opened(plain, as_is=True)
    gallery = page.locator("#gallery-0 > .fold")

    def is_open(fold):
        return fold.evaluate("e => e.open")

    assert page.locator("#figures-0 table").is_visible()
    assert not is_open(gallery)
    gallery.locator("summary").first.press("Enter")
    assert page.locator("#gallery-0 .shot").first.is_visible()
    gallery.locator("summary").first.press("Space")
    assert not is_open(gallery)
    link = page.locator("nav a[href='#gallery-0']")
    for _ in range(2):  # also where one is already
        link.click()
        assert is_open(gallery)
        page.wait_for_function("() => document.querySelector('#gallery-0').getBoundingClientRect().top < innerHeight")
        gallery.evaluate("e => { e.open = false; }")
    link.click()
    page.reload()
    assert is_open(page.locator("#gallery-0 > .fold"))
    page.locator("#part-0 > .fold").evaluate("e => { e.open = false; }")
    page.evaluate("location.hash = 'tokens-title-0'")
    page.wait_for_function("() => document.querySelector('#tokens-0 > .fold').open && document.querySelector('#part-0 > .fold').open")


def test_one_button_opens_and_closes_all_sections(opened, plain):
    page = opened(plain, as_is=True)
    button, closed = page.locator("#folds"), page.locator("details.fold:not([open])")
    assert 5 < closed.count() < page.locator("details.fold").count()
    button.press("Enter")
    assert closed.count() == 0
    page.wait_for_function("() => document.querySelector('#folds').textContent === 'Close all sections'")
    button.press("Enter")
    assert closed.count() == page.locator("details.fold").count()
    page.wait_for_function("() => document.querySelector('#folds').textContent === 'Open all sections'")
    before = page.evaluate("document.documentElement.scrollHeight")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert closed.count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.scrollHeight") == before


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_that_told_fits_and_can_be_read(opened, folder, make_record, make_probe, width, theme):
    ranks = RankCorrelation(-0.94, -0.99, -0.17, -1.0, -0.9, 6, 0.02)
    pair = Pair("probe_bits", Source("probe", "another", "0" * 64), "prompt_attributes", ranks)
    telling = Telling((Study("scenes", "test", 500, 64, "time", (9_920, 41_344), tuple("abcdef"), 100, (pair,)),), own=True)
    groups = arrange([make_record(f"family/{number}") for number in range(3)])
    probes = [make_probe(f"family/{number % 2 * number}", 1500.0 + number, quantizer=f"{number}" * 200) for number in range(20)]
    path = folder / "leading.html"
    first = leading(telling, probes, groups)
    path.write_text(render_page(groups, [None], extra=[probe_section(probes, groups)], leading=first), encoding="utf-8")
    page = opened(path, as_is=True, viewport={"width": width, "height": 900}, color_scheme=theme)
    block = page.locator("#leading")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert width < 1000 or block.bounding_box()["height"] < 560
    assert block.locator("tbody tr:visible").count() == 8
    for selector in ("caption", ".who", ".cell .faint", ".notes li", ".hint", "small"):
        colour, on = block.locator(selector).first.evaluate(
            """e => { let b = e; while (getComputedStyle(b).backgroundColor === 'rgba(0, 0, 0, 0)') b = b.parentElement;
               return [getComputedStyle(e).color, getComputedStyle(b).backgroundColor]; }"""
        )
        assert contrast(colour, on) >= 4.5, selector
    block.locator("details summary").first.click()
    assert block.locator("tbody tr:visible").count() == 20
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.fill("#filter", "no such name")
    assert block.locator("tbody tr:visible").count() == 20, "no table of the page has these tokenizers"
    page.fill("#filter", "")
    block.locator("a").first.click()
    assert page.locator("#learnability details.fold").first.evaluate("e => e.open")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_first_screen_answers(opened, committed, width):
    page = opened(committed, as_is=True, viewport={"width": width, "height": 900})
    answers = page.locator("#answers").bounding_box()
    assert answers["y"] < 520
    assert width < 1000 or answers["y"] + answers["height"] < 900
    assert page.evaluate("document.documentElement.scrollWidth") == width
    picture = page.locator(".matrix").first
    assert picture.locator("tbody tr:visible").count() == 7
    page.fill("#filter", "vq")
    assert picture.locator("tbody tr:visible .who").all_inner_texts() == ["vqgan/tiny", "vqvae/tiny"]
    page.fill("#filter", "")
    assert page.evaluate("document.documentElement.scrollHeight") < (6000 if width > 1000 else 12000)


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
    assert "<script>window.pwned=1</script>" in page.locator("#part-title-0").inner_text()


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


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("vq dead_codes<3", ["vq/plain"]),
        ("Dead_Codes<3 VQ", ["vq/plain"]),
        ("dead_codes<=3 dead_codes>=3 better", ["vq/better"]),
        ("fd_efflite0<95", ["vq/better"]),
        ("vq psnr>25.5", ["vq/better"]),
        ("vq psnr > 25.5 dead_codes <4", ["vq/better"]),
        ("vq usage>=97 lpips<.08", ["vq/better"]),
        ("parameters>1e0 encode=101", ["vq/plain"]),
        ("psnr=inf", ["pixel/rgb"]),
        ("psnr=∞", ["pixel/rgb"]),
        ("bits_per_image>90000", ["pixel/rgb"]),
        ("dead_codes!=3", ["vq/plain", "pixel/rgb"]),
        ("psnr>-5 dead_codes<3", ["vq/plain"]),
        ("parameters>3", []),
    ],
)
def test_conditions_are_a_key_a_sign_and_a_number(counted_page, text, left):
    page = counted_page
    page.fill("#filter", text)
    assert page.locator("#filter-says").inner_text() == ""
    assert names(page) == left
    assert page.locator("#filter").get_attribute("aria-invalid") == "false"


@pytest.fixture(scope="module")
def counted(folder, make_record, make_pictures):
    """Three tokenizers with dead codes, 2 to 4 of them; one perfect."""
    items = [make_record("vq/plain", seed=1), make_record("vq/better", seed=2, better=2.0), make_record("pixel/rgb", seed=4, bits=98304.0)]
    items = [
        replace(item, record=replace(item.record, metrics=item.record.metrics | {"dead_codes": MetricResult(2.0 + i, "codes", False)}))
        for i, item in enumerate(items)
    ]
    perfect = items[2].record.metrics | {"psnr": MetricResult(math.inf, "dB", True)}
    items[2] = replace(items[2], record=replace(items[2].record, metrics=perfect))
    return write(folder / "counted.html", items, make_pictures)


@pytest.fixture(scope="module")
def counted_page(browser, counted):
    """One page for all that is written into its filter."""
    opened = Opened(browser, counted)
    yield opened.page
    opened.check()
    opened.context.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fid<3 vq", "no column has the key fid; keys are tokens_per_image, bits_per_image, bpp, fd_efflite0, lpips, psnr, ssim, usage,"),
        ("vq psnr>", "psnr> needs a number after it"),
        ("vq PSNR>abc", "psnr> needs a number after it, got abc"),
        ("< 3 vq", "the key of a column belongs before <"),
        ("vq psnr>1,000", "psnr> needs a number after it, got 1,000"),
        ("vq usage>99%", "usage> needs a number after it, got 99%"),
        ("vq psnr=>99", "psnr= needs a number after it, got >99"),
        ("vq 99<psnr<100", "no column has the key 99; keys are tokens_per_image,"),
    ],
)
def test_a_condition_that_is_not_understood_is_told_and_hides_nothing(counted_page, text, said):
    page = counted_page
    page.fill("#filter", text)
    assert page.locator("#filter-says").inner_text().startswith(said)
    assert page.locator("#filter-says").get_attribute("role") == "status"
    assert page.locator("#filter").get_attribute("aria-invalid") == "true"
    assert names(page) == ["vq/plain", "vq/better"]
    page.fill("#filter", "")
    assert page.locator("#filter-says").is_hidden()


def test_a_section_that_filters_do_not_reach_says_so(opened, folder, make_record, make_probe):
    said = "The filter and the choice of tokenizers do not reach this section."
    groups, probes = arrange([make_record("family/a"), make_record("family/b", seed=1)]), [make_probe("vqvae/tiny")]
    path = folder / "probed.html"
    path.write_text(render_page(groups, [None], extra=[probe_section(probes, groups)]), encoding="utf-8")
    page = opened(path)
    page.click("#none")
    assert page.locator("#learnability").get_by_text(said).is_visible()
    assert page.locator("#learnability .curve").first.is_visible()
    assert page.get_by_text(said).count() == 1
    path = folder / "probes.html"
    path.write_text(render_page([], [], extra=[probe_section(probes)]), encoding="utf-8")
    page = opened(path)  # without a filter: nothing to say, and the rest works
    assert page.get_by_text(said).count() == 0
    page.locator("#learnability .chart").first.press("ArrowRight")
    assert "of uniform codes at first" in page.locator("#tip").inner_text()


def test_a_table_without_the_column_says_so(opened, folder, make_record, make_pictures):
    a, b = make_record("family/a"), make_record("family/b", seed=1)
    metrics = b.record.metrics | {"contrast": MetricResult(0.5, "1", True)}
    b = replace(b, record=replace(b.record, data=replace(b.record.data, pixels_digest="f" * 64), metrics=metrics))
    page = opened(write(folder / "two.html", [a, b], make_pictures, count=0))
    page.fill("#filter", "contrast>0.4")
    assert names(page) == ["family/b"]
    assert page.locator(".nothing:visible").all_inner_texts() == ["This table has no column contrast."]
    page.fill("#filter", "contrast>0.6 nobody")
    assert page.locator(".nothing:visible").all_inner_texts() == ["This table has no column contrast.", "No tokenizer fits the filter."]


@pytest.mark.parametrize("width", [1280, 390])
def test_how_to_filter_is_there_to_read(opened, plain, width):
    page = opened(plain, viewport={"width": width, "height": 800})
    help_text = page.locator("#filter-help")
    assert help_text.is_visible()
    assert help_text.bounding_box()["height"] > 12
    page.fill("#filter", help_text.locator("code").inner_text())
    assert page.locator("#filter-says").inner_text() == ""
    headings = page.locator(".figures thead th[data-key]")
    tips = headings.evaluate_all("all => all.map(e => [e.dataset.key, e.querySelector('[data-tip]').dataset.tip])")
    assert tips
    for key, tip in tips:
        assert tip.endswith(f"\nkey in the filter: {key}")
        page.fill("#filter", f"{key}>=0")
        assert page.locator("#filter-says").inner_text() == ""


def corners(chart, selector=".front"):
    """Ends of the steps of a line, rounded to what differences of drawing do not change."""
    path = chart.locator(selector).get_attribute("d")
    return [tuple(round(float(part), 2) for part in point.split()) for point in path.removeprefix("M").split("L") if point]


def test_the_front_is_that_of_the_rows_shown(opened, folder, make_record, make_pictures):
    rng = np.random.default_rng(5)
    rates = 2 ** rng.uniform(5, 12, size=14)
    items = [make_record(f"{'ab'[i % 2]}/{i}", seed=i, better=float(rng.uniform(-3, 3)), bits=float(rates[i])) for i in range(14)]
    codecs = [make_record(f"anchor/{kind}-{size}", seed=20, bits=8.0 * size) for kind in ("webp", "jpeg") for size in (160, 320, 640)]
    page = opened(write(folder / "front.html", [*items, *codecs], make_pictures, count=0))
    charts = page.locator("#rate-0 .chart, #speed-0 .chart")
    assert charts.count() >= 5
    first = [corners(charts.nth(i)) for i in range(charts.count())]
    for text in ("", "a/", "psnr<25", "bpp>0.05 b/"):
        page.fill("#filter", text)
        for i in range(charts.count()):
            chart = charts.nth(i)
            title, bits = chart.get_attribute("aria-label"), "bits per pixel" in chart.get_attribute("aria-label")
            shown = chart.locator(".mark:not(.off):not(.codec)").evaluate_all("all => all.map(e => [e.dataset.x, e.dataset.y].map(Number))")
            # in pixels: rates to the left and speeds to the right are better; errors are better below, PSNR and SSIM above
            across, up = (1 if bits else -1), (-1 if "PSNR" in title or "SSIM" in title else 1)
            good = [(across * x, -up * y) for x, y in shown]
            unbeaten = [
                xy for xy, (x, y) in zip(shown, good, strict=True) if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in good)
            ]
            drawn = corners(chart)
            assert {tuple(xy) for xy in unbeaten} <= set(drawn), (text, title)
            assert not {tuple(xy) for xy in shown if xy not in unbeaten} & set(drawn), (text, title)
            assert len(drawn) == 2 * len(unbeaten)  # a corner between two marks, and the end at the frame
            if text == "":
                assert drawn == first[i]
    chart = charts.first
    page.fill("#filter", "")
    every = corners(chart, ".codec-line[data-codec=webp]")
    assert len(every) == 3
    page.fill("#filter", "bits_per_image>2000")
    assert corners(chart, ".codec-line[data-codec=webp]") == every[1:]
    page.fill("#filter", "bits_per_image>4000")
    assert corners(chart, ".codec-line[data-codec=webp]") == []  # one anchor is no line
    page.fill("#filter", "nothing-like-it")
    assert corners(chart) == []


def accessible(page):
    """Role, name and description of everything the browser tells a reader of the screen."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()

    def text(node, part):
        return str(node.get(part, {}).get("value", ""))

    return [(text(node, "role"), text(node, "name"), text(node, "description")) for node in nodes if not node.get("ignored")]


def test_readers_of_the_screen_have_every_mark_and_reason(opened, counted, plain):
    page = opened(counted)
    nodes = accessible(page)
    images = [name for role, name, _ in nodes if role in ("img", "image")]
    for selector in ("#rate-0 .mark", "#speed-0 .mark", "#codebooks-0 .mark", "#codebooks-0 .bar", "#spread-0 .mark"):
        tips = page.locator(selector).evaluate_all("all => all.map(e => e.dataset.tip.replaceAll('\\n', ', ').replace(/ +/g, ' '))")
        assert tips, selector
        assert set(tips) <= set(images), selector
    assert any(name.startswith("vq/plain, LPIPS 0.") and "bits per pixel" in name for name in images)
    assert any(name.startswith("vq/plain, 768 of 1,024 codes used") for name in images)
    cells = [name for role, name, _ in nodes if role in ("cell", "gridcell")]
    assert any(name.endswith("] the best") for name in cells)
    assert not [name for role, name, _ in nodes if role == "StaticText" and name == "∅"]  # ticks are for the eye
    nodes = accessible(opened(plain))
    cells = [name for role, name, _ in nodes if role in ("cell", "gridcell")]
    assert any(name.endswith("] the best at these bits") for name in cells)
    assert "none: not measured" in cells
    assert "none: a codec without tokens" in cells
    assert "\N{EN DASH}" not in cells


def test_reasons_are_there_without_a_pointer(opened, plain):
    page = opened(plain)
    reasons = page.locator("#figures-0 .absent")
    assert reasons.locator("li").first.is_hidden()
    reasons.locator("summary").press("Enter")
    assert "LPIPS: not measured (bits/flat)" in reasons.inner_text()
    assert "tokens: a codec without tokens (anchor/webp-320)" in reasons.inner_text()
    page = opened(plain, has_touch=True)
    cell = page.locator(".figures td[data-tip]").first
    cell.scroll_into_view_if_needed()
    cell.tap()
    assert "no " in page.locator("#tip").inner_text()


def test_marks_and_bars_are_reached_by_keyboard(opened, plain):
    page = opened(plain)
    tip = page.locator("#tip")
    for selector, said in (
        ("#rate-0 .chart", "bits per pixel"),
        ("#codebooks-0 .ranks > .plot .chart", "codes used by"),
        ("#codebooks-0 .mini .chart", "of the codes"),
    ):
        chart = page.locator(selector).first
        parts = chart.locator(".mark, .bar").count()
        chart.focus()
        seen = []
        for _ in range(parts):
            page.keyboard.press("ArrowRight")
            assert said in tip.inner_text()
            assert page.evaluate("document.activeElement.getAttribute('role')") == "img"
            seen.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        assert len(seen) == parts > 2
        page.keyboard.press("Home")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == seen[0]
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == seen[-1]
        page.keyboard.press("Tab")  # one stop a chart: the next one is elsewhere
        assert not page.evaluate("element => element.contains(document.activeElement)", chart.element_handle())
        assert tip.is_hidden() or said not in tip.inner_text()


@pytest.mark.parametrize("width", [1280, 390])
def test_targets_are_large_enough(opened, plain, width):
    page = opened(plain, viewport={"width": width, "height": 800})
    small = page.locator("button:visible, summary:visible, select:visible, input:not([type=range]):visible, nav a:visible").evaluate_all(
        "all => all.map(e => [e.id || e.className || e.textContent, e.getBoundingClientRect()]).filter(([_, b]) => b.width < 24 || b.height < 24).map(([n, b]) => [n, b.width, b.height])"
    )
    assert small == []


def test_nothing_in_a_distribution_lies_on_anything(opened, folder, make_record, make_pictures):
    items = [
        make_record("family/a", better=8.0),
        make_record("family/" + "long-" * 14, seed=1),
        make_record("family/c", seed=2, better=-8.0),
    ]
    page = opened(write(folder / "hills.html", items, make_pictures, count=0))
    rows = page.locator(".spread-row")
    assert rows.count() == 9
    for i in range(rows.count()):
        boxes = rows.nth(i).evaluate(
            "row => ['text:not(.number)', '.number', '.hill', '.median'].map(s => row.querySelector(s).getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom])"
        )
        for one, other in itertools.combinations(boxes, 2):
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] + 0.5 or other[3] <= one[1] + 0.5, (i, one, other)
        row = rows.nth(i).bounding_box()
        assert all(row["x"] <= box[0] and box[2] <= row["x"] + row["width"] and box[3] <= row["y"] + row["height"] for box in boxes)


@pytest.fixture(scope="module")
def committed(folder, make_pictures):
    items = [Measured(path.name, record, {}) for path, record in find_records([Path(__file__).parents[2] / "results" / "photos-64"])]
    return write(folder / "committed.html", items, make_pictures, count=0)


@pytest.mark.parametrize("width", [1265, 1425])  # 1280 and 1440 less a scroll bar
def test_the_usual_table_fits_and_stands_still(opened, committed, width):
    page = opened(committed, viewport={"width": width, "height": 900})
    box = page.locator(".scroll:has(.figures)")
    assert page.locator(".figures thead th").count() >= 16
    assert box.evaluate("e => e.scrollWidth - e.clientWidth") <= 0
    assert page.locator(".goes-on").is_hidden()
    assert page.locator(".figures td small").first.evaluate("e => parseFloat(getComputedStyle(e).fontSize)") >= 11

    def places():
        return page.locator(".figures thead th, .figures thead .sort").evaluate_all(
            "all => all.map(e => JSON.stringify(e.getBoundingClientRect()))"
        )

    page.evaluate("document.querySelector('#figures-0').scrollIntoView()")  # else the first click scrolls
    before = places()
    for key in ("psnr", "perplexity", "dead_codes"):
        for _ in range(3):
            column(page, key).get_by_role("button").click()
            page.mouse.move(2, 2)
            assert places() == before
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("() => document.querySelector('.scroll:has(.figures)').classList.contains('more')")
    assert page.locator(".goes-on").is_visible()
    box.evaluate("e => { e.scrollLeft = 1e6; }")
    page.wait_for_function("() => !document.querySelector('.scroll:has(.figures)').classList.contains('more')")
    assert page.locator(".goes-on").is_hidden()
