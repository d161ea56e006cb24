"""The built site, as a reader meets it: `make site-test` builds it and runs this in Chromium."""

import functools
import http.server
import itertools
import json
import os
import shutil
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "site"
AXE = ROOT / "docs" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = sorted(
    str(p.relative_to(SITE))
    for p in SITE.rglob("*.html")
    if "_static" not in p.parts and p.name not in ("search.html", "genindex.html")
)
LOOKED_AT = [
    "index.html",
    "learn.html",
    "lessons/02_cam.html",
    "api.html",
    "paint.html",
    "teach.html",
]
LOOKED_AT += ["gallery.html", "peers.html", "use.html"]
WAIT = 180_000
"""milliseconds; a shared CI machine may be slow"""

each_page = pytest.mark.parametrize("name", PAGES)


def test_site_is_built():
    assert set(LOOKED_AT) <= set(PAGES), "run `make site` first"


class Page(HTMLParser):
    """What of a page can be checked without a browser."""

    def __init__(self, name: str):
        super().__init__()
        self.links, self.names, self.pictures, self.headings = [], set(), [], []
        self.article = False
        self.feed((SITE / name).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.article |= tag == "article"  # above it the theme has a page's title for paper alone
        self.names.add(given.get("id"))
        self.links += [given[key] for key in ("href", "src") if given.get(key)]
        if tag == "img":
            self.pictures.append(given)
        if self.article and len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self.headings.append(int(tag[1]))


page_of = functools.cache(Page)


@each_page
def test_links_lead_somewhere(name):
    for link in page_of(name).links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            assert parts.scheme in ("https", "data", "mailto"), link
            continue
        target = (SITE / name).parent / unquote(parts.path) if parts.path else SITE / name
        target = target / "index.html" if target.is_dir() else target
        assert target.exists(), link
        if parts.fragment and target.suffix == ".html":
            there = page_of(str(target.resolve().relative_to(SITE)))
            assert unquote(parts.fragment) in there.names, link


@each_page
def test_pictures_say_what_they_show(name):
    for picture in page_of(name).pictures:
        assert picture.get("alt", "").strip(), str(picture)[:200]


@each_page
def test_headings_are_one_title_and_no_level_is_skipped(name):
    levels = page_of(name).headings
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels)), levels


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, address) -> Iterator:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, base_url=address)
    context.set_default_timeout(WAIT)
    page = context.new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    context.close()


def go(page, name: str) -> None:
    page.goto(f"/{name}", wait_until="load", timeout=WAIT)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", LOOKED_AT)
def test_axe_finds_nothing(page, name, theme):
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.add_init_script(
        f"localStorage.setItem('mode', '{theme}');localStorage.setItem('theme', '{theme}')"
    )
    go(page, name)
    page.add_script_tag(path=AXE)
    found = page.evaluate(
        "async () => (await axe.run({exclude: [['iframe']]}, {runOnly: ['wcag2a', 'wcag2aa']}))"
        ".violations.map(v => ({rule: v.id, nodes: v.nodes.map(n => n.html.slice(0, 200))}))"
    )
    assert found == []


@pytest.mark.parametrize("name", LOOKED_AT)
def test_page_fits_a_phone(page, name):
    page.set_viewport_size({"width": 360, "height": 740})
    go(page, name)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("name", LOOKED_AT)
def test_nothing_comes_from_elsewhere(page, name, address):
    go(page, name)
    page.wait_for_load_state("networkidle")
    strangers = [u for u in page.asked if not u.startswith((address, "data:", "blob:", "about:"))]
    assert strangers == []


def test_first_page_is_three_megabytes_at_most(page, address):
    sizes = []
    page.on("response", lambda answer: sizes.append(len(answer.body())))
    go(page, "index.html")
    page.locator("iframe.live").scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    assert sum(sizes) < 3_000_000


def picture(frame) -> str:
    return frame.evaluate(
        "() => Array.from(document.querySelectorAll('canvas'), c => c.toDataURL()).join()"
    )


@pytest.mark.parametrize("name", ["index.html", "lessons/02_cam.html"])
def test_a_slider_moves_the_picture(page, name):
    go(page, name)
    holder = page.locator("iframe.live").first
    holder.scroll_into_view_if_needed()
    frame = holder.element_handle().content_frame()
    frame.wait_for_selector("canvas")
    slider = frame.get_by_role("slider", name="class").first
    slider.wait_for()
    before = picture(frame)
    slider.focus()
    slider.press("ArrowRight")
    now = "Array.from(document.querySelectorAll('canvas'), c => c.toDataURL()).join()"
    frame.wait_for_function(f"before => {now} != before", arg=before)


def test_painting_asks_the_network_in_the_browser(page):
    go(page, "paint.html")
    page.wait_for_selector('#paint[data-state="ready"]')
    data = json.loads(page.locator("#paint-data").text_content())
    for name, expected in zip(data["cells"], data["scores"], strict=True):
        page.get_by_label(name, exact=True).check()
        page.wait_for_function(
            "([text]) => document.querySelector('#paint [role=status]').textContent.includes(text)",
            arg=[f"CAM of {name}"],
        )
        scores = json.loads(page.locator("#paint").get_attribute("data-scores"))
        assert scores == pytest.approx(expected, abs=1e-3)  # PyTorch's

    before = page.locator("#paint").get_attribute("data-scores")
    canvas = page.locator("#paint canvas")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    changed = "before => document.querySelector('#paint').dataset.scores !== before"
    page.wait_for_function(changed, arg=before)

    before = page.locator("#paint").get_attribute("data-scores")
    canvas.focus()
    for key in ("ArrowUp",) * 5 + (" ",):
        page.keyboard.press(key)
    page.wait_for_function(changed, arg=before)
