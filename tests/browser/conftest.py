# SPDX-License-Identifier: Apache-2.0
"""The web page of a real h5ptd in a real Chromium (of the system: scripts/install-deps browser), without a window.

Whatever a test does, the page must not complain, break its content security policy, or ask another host for anything."""
import importlib.util
import os
import shutil

import pytest
from playwright.sync_api import sync_playwright

HERE = os.path.dirname(os.path.abspath(__file__))
# The daemon is started and watched as in the black-box tests.
_spec = importlib.util.spec_from_file_location("blackbox_conftest", os.path.join(os.path.dirname(HERE), "blackbox", "conftest.py"))
blackbox = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(blackbox)
CASES, CLASSIC, until = blackbox.CASES, blackbox.CLASSIC, blackbox.until
daemon, start_daemon, gate = blackbox.daemon, blackbox.start_daemon, blackbox.gate

REFUSED = "tfkeras/made/several_reasons"
PATIENCE_MS = 1000 * blackbox.PATIENCE


def path_of(name):
    return os.path.join(CASES, name + ".h5")


@pytest.fixture(scope="session")
def chromium():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "these tests need Chromium: scripts/install-deps browser"
    with sync_playwright() as playwright:
        # As root, which CI is, Chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """open_page(daemon, path="/", **context options): a page in a browser of its own. What it should not do fails the test; a
    test that provokes an answer of an error says so: page.expected.add(status)."""
    contexts, complaints = [], []

    def open_one(daemon, path="/", **options):
        context = chromium.new_context(accept_downloads=True, **options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.expected = set()

        def complain(what):
            if not any("status of %d" % status in what for status in page.expected):
                complaints.append(what)

        page.on("console", lambda message: message.type in ("error", "warning") and complain(message.text))
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("request", lambda request: request.url.startswith((daemon.url + "/", "blob:", "data:")) or complain("asks for " + request.url))
        page.goto(daemon.url + path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


def choose(page, *paths):
    page.set_input_files("input[type=file][multiple]", [str(path) for path in paths])


def convert(page, *paths):
    """From the first view to the verdict; the id of the conversion."""
    choose(page, *paths)
    page.get_by_role("button", name="Convert", exact=True).click()
    page.wait_for_selector(".verdict")
    page.wait_for_selector("#use")
    return page.evaluate("location.hash.slice(1)")


def wait_for(page, expression):
    """page.wait_for_function would evaluate text in the page, which its policy forbids."""
    until(lambda: page.evaluate(expression), expression)


def verdict(page):
    return page.locator(".verdict h2").inner_text()
