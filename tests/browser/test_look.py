# SPDX-License-Identifier: Apache-2.0
"""Small screens, the dark, people who do not see the page, and the API description as a page."""
import functools
import os

import pytest
import yaml
from conftest import CLASSIC, REFUSED, choose, convert, path_of, wait_for

AXE = os.path.join(os.environ.get("H5PT_BUILD_DIR", ""), "web", "node_modules", "axe-core", "axe.min.js")


def home(page):
    choose(page, path_of(CLASSIC))
    page.get_by_text("Options").click()


def progress(page):
    choose(page, path_of(CLASSIC))
    page.get_by_role("button", name="Convert", exact=True).click()
    page.wait_for_selector(".stages")


def inspection(page):
    choose(page, path_of(REFUSED))
    page.get_by_role("button", name="Would it convert?").click()
    page.wait_for_selector("#reasons")


def converted(page):
    convert(page, path_of(CLASSIC))
    wait_for(page, "document.querySelector('.picture img')?.naturalWidth > 100")


def refused(page):
    convert(page, path_of(REFUSED))


def docs(page):
    page.goto(page.url.rstrip("/") + "/docs")
    page.wait_for_selector(".opblock")
    page.locator(".opblock-summary-control").first.click()
    page.wait_for_selector(".opblock-body")


VIEWS = [lambda page: page.wait_for_selector(".options"), home, inspection, converted, refused]
NAMES = ["first", "home", "inspection", "converted", "refused"]


@functools.lru_cache(maxsize=None)
def axe_source():
    with open(AXE) as file:
        return file.read()


def findings(page, **options):
    """What axe says that is serious, as (rule, element)."""
    page.evaluate(axe_source())  # not as a script element, which the policy of the page forbids
    result = page.evaluate("options => axe.run(document, options)", options)
    assert len(result["passes"]) > 10
    return [(v["id"], node["html"][:120]) for v in result["violations"] if v["impact"] in ("serious", "critical") for node in v["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS, ids=NAMES)
def test_accessible(daemon, open_page, view, scheme):
    page = open_page(daemon, color_scheme=scheme, reduced_motion="reduce")
    view(page)
    assert findings(page) == []


def test_accessible_on_its_way_and_small(start_daemon, gate, open_page):
    daemon = start_daemon(worker=gate.worker)
    page = open_page(daemon, reduced_motion="reduce", viewport={"width": 360, "height": 740})
    progress(page)
    assert findings(page) == []
    gate.open()
    page.wait_for_selector("#use")
    assert findings(page) == []


@pytest.mark.parametrize("view", [*VIEWS, docs], ids=[*NAMES, "docs"])
def test_a_phone_is_wide_enough(daemon, open_page, view):
    page = open_page(daemon, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    view(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.documentElement.clientWidth") == 360


@pytest.mark.parametrize("width", [360, 720, 960, 1200])
def test_rows_stay_low_at_every_width(daemon, open_page, width):
    page = open_page(daemon, viewport={"width": width, "height": 800})
    for view in inspection, converted:
        page.goto(daemon.url + "/")
        view(page)
        heights = page.evaluate("[...document.querySelectorAll('.layers tbody tr')].map((row) => row.getBoundingClientRect().height)")
        assert len(heights) >= 5 and max(heights) < 110, view


def test_light_and_dark(daemon, open_page):
    def brightness(page, element):
        color = page.evaluate("e => getComputedStyle(document.querySelector(e)).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)", element)
        return sum(color) / 765

    page = open_page(daemon, color_scheme="light")
    converted(page)
    assert brightness(page, "body") > 0.9 and brightness(page, ".card") > 0.9
    page.emulate_media(color_scheme="dark")
    wait_for(page, "getComputedStyle(document.body).colorScheme.includes('dark')")
    assert brightness(page, "body") < 0.15 and brightness(page, ".card") < 0.15
    docs_page = open_page(daemon, "/docs", color_scheme="dark")
    docs_page.wait_for_selector(".opblock")
    assert brightness(docs_page, ".opblock") < 0.15


def test_nothing_moves_for_those_who_do_not_want_it(daemon, open_page):
    page = open_page(daemon, reduced_motion="reduce")
    converted(page)
    moving = """[...document.querySelectorAll("*")].filter((e) => {
        const style = getComputedStyle(e);
        return style.animationName !== "none" || parseFloat(style.transitionDuration) > 0 || style.scrollBehavior === "smooth";
    }).length"""
    assert page.evaluate(moving) == 0


def test_the_api_description_is_rendered(daemon, open_page):
    page = open_page(daemon)
    docs(page)
    document = yaml.safe_load(daemon.get("/openapi.yaml").text)
    described = [(method.upper(), path) for path, item in document["paths"].items() for method in item if method in ("get", "put", "post", "delete", "head")]
    shown = [(block.locator(".opblock-summary-method").inner_text(), block.locator(".opblock-summary-path").get_attribute("data-path")) for block in page.locator('.opblock:has([data-path^="/"])').all()]
    assert sorted(shown) == sorted(described)
    page.locator(".opblock", has_text="/v1/capabilities").locator(".opblock-summary-control").click()
    block = page.locator(".opblock.is-open", has_text="/v1/capabilities")
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    block.locator(".live-responses-table .response-col_status", has_text="200").first.wait_for()
