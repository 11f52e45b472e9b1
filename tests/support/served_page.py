"""A shop with hostile texts, a browser that opens the page of a server, and what is done with that again and again."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from moon2 import Product

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 15_000
"""For what is awaited on a machine that has other things to do."""
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOSTILE = "<img src=x onerror=\"document.title='owned'\"> table"
HOSTILE_ID = "a/b?c#d&<b>\"e'"
AUGMENTED = "augmented"


def png(colour: str) -> bytes:
    """A small image of one colour as a file."""
    file = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(file, "PNG")
    return file.getvalue()


def hostile_products() -> list[Product]:
    """One product whose every text is markup, and one with augmentations."""
    return [
        Product(
            HOSTILE_ID,
            HOSTILE,
            "<script>document.title='owned'</script>",
            ("<i>Home</i>", "<u>Tables</u>"),
            {"brand": "O'Neill <script>", "colour": 'red"><svg onload=alert(1)>'},
            price=12,
        ),
        Product(
            AUGMENTED,
            "Plain vase",
            images=[png("teal"), png("navy")],
            enriched_title="Plain teal vase of glass",
            expanded_images=[png("olive")],
            provenance={"text": "rules"},
        ),
    ]


def browsers() -> Iterator[Browser]:
    """Chromium without a window; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no browser is there: apt install chromium")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


def opened(browser: Browser, address: str, **settings: object) -> Iterator[Page]:
    """A page in a context of its own."""
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 860}, **settings)  # type: ignore[arg-type]
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    # A refused request is also written to the console; those are tested by what the page says.
    page.on("console", lambda said: problems.append(said.text) if "Content Security" in said.text else None)
    page.goto("/")
    yield page
    context.close()
    assert not problems, problems


def cards(page: Page) -> Locator:
    """The results that can be seen."""
    return page.locator(".column:visible .card[data-id]")


def search(page: Page, words: str) -> None:
    """Types words, and waits for their results."""
    page.get_by_role("searchbox", name="Search in words").fill(words)
    expect(page).to_have_title(re.compile(re.escape(words)))
    expect(cards(page).first).to_be_visible()


def narrow(page: Page, column: str, value: str) -> None:
    """Chooses a value, and waits until the filters are drawn anew: a click on what is being replaced is lost."""
    sets = page.locator(".facet:not(.price)")
    sets.evaluate_all("all => all.forEach((one) => one.classList.add('old'))")
    page.get_by_role("group", name=column).get_by_text(value, exact=True).click()
    expect(page.locator(".facet.old")).to_have_count(0)
