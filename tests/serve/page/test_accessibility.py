"""That everybody can use the page: by keys alone, in light and dark, on a phone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect
from support.served_page import AUGMENTED, cards, opened, search

CONTRASTS = """() => {
  const parsed = (colour) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [.2126, .7152, .0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parsed(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const root = document.querySelector("dialog[open]") ?? document.body;
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest("script, style, .hidden, template")) continue;
    const [a, b] = [light(parsed(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    found.push([(a + .05) / (b + .05), text]);
  }
  return found;
}"""
SHIFTS = """() => new Promise((done) => {
  new PerformanceObserver((list) => done(list.getEntries().map((shift) => shift.value)))
    .observe({type: "layout-shift", buffered: true});
  setTimeout(() => done([]), 50);
})"""
NAMELESS = """() => [...document.querySelectorAll("button, a, input, dialog, section, img")]
  .filter((one) => one.checkVisibility() && !one.hasAttribute("alt"))
  .filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length ||
    document.getElementById(one.getAttribute("aria-labelledby"))))
  .map((one) => one.outerHTML.slice(0, 200))"""


def test_all_can_be_done_by_keyboard(page: Page) -> None:
    words = page.get_by_role("searchbox")
    expect(words).to_be_focused()
    page.keyboard.insert_text("shoes")  # at once: a pause between letters would begin a search
    expect(cards(page)).to_have_count(24)
    page.keyboard.press("ArrowDown")
    expect(cards(page).nth(0).get_by_role("link")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    second = cards(page).nth(1)
    expect(second.get_by_role("link")).to_be_focused()
    assert second.get_by_role("link").evaluate("link => getComputedStyle(link).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    expect(second.get_by_role("button", name="More like")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Show more")).to_be_focused()  # the gallery is one stop
    page.keyboard.press("Enter")
    expect(cards(page)).to_have_count(48)
    second.get_by_role("link").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("heading", level=2)).to_be_focused()
    page.keyboard.press("Escape")
    expect(second.get_by_role("link")).to_be_focused()
    page.keyboard.press("Escape")
    expect(words).to_be_focused()
    page.get_by_role("button", name="Scores").focus()
    page.keyboard.press("/")
    expect(words).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("link", name="Skip to the results")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#results-heading")).to_be_focused()
    expect(page).to_have_url(re.compile("#q=shoes$"))
    assert page.evaluate(NAMELESS) == []


def test_a_closed_product_does_not_take_back_the_focus(page: Page) -> None:
    search(page, "shoes")
    cards(page).first.get_by_role("link").click()
    expect(page.get_by_role("dialog").get_by_role("heading", level=2)).to_be_focused()
    # The browser tells that a dialog has closed a little later. A quick user is elsewhere by then.
    focused = page.evaluate(
        """async () => {
            const dialog = document.querySelector("dialog[open]");
            const told = new Promise((tell) => dialog.addEventListener("close", tell, { once: true }));
            dialog.close();
            document.querySelector("#words").focus();
            await told;
            return document.activeElement.id;
        }"""
    )
    assert focused == "words"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_texts_can_be_read_and_nothing_jumps(browser: Browser, address: str, scheme: str) -> None:
    for page in opened(browser, address, color_scheme=scheme, reduced_motion="reduce"):
        seen = 0
        states = {
            "": ".example img",
            "#q=red&scores=yes&index=both&is.colour=red&max=500": ".card img",
            f"#q=vase&why=yes&product={AUGMENTED}": ".neighbours img",
        }
        for state, last in states.items():
            page.goto("about:blank")
            page.goto(f"/{state}")
            for shown in (".facet", last):
                expect(page.locator(shown).filter(visible=True).first).to_be_visible()
            contrasts = page.evaluate(CONTRASTS)
            assert [text for contrast, text in contrasts if contrast < 4.5] == []
            seen += len(contrasts)
            assert sum(page.evaluate(SHIFTS)) < 0.02
        assert seen > 100
        assert page.evaluate("getComputedStyle(document.querySelector('dialog[open]')).animationName") == "none"
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").split(",")
        assert (int(ground[0]) > 128) == (scheme == "light")


def test_a_phone_shows_all_of_it_in_its_width(browser: Browser, address: str) -> None:
    for page in opened(browser, address, has_touch=True, is_mobile=True):
        page.set_viewport_size({"width": 420, "height": 860})
        page.get_by_role("searchbox").fill("shoes")
        expect(cards(page)).to_have_count(24)
        expect(page.get_by_role("group", name="brand")).to_be_hidden()
        page.get_by_role("button", name="Show more").tap()
        expect(cards(page)).to_have_count(48)
        assert page.evaluate("document.documentElement.scrollWidth") == 420
        page.get_by_role("button", name="Filters").tap()
        page.get_by_role("group", name="brand").get_by_role("checkbox").first.tap()
        page.get_by_role("button", name="Filters (1)").tap()
        expect(page.get_by_role("status")).to_have_text(re.compile(r"products?, in \d+ ms"))
        cards(page).first.get_by_role("link").tap()
        expect(page.get_by_role("region", name="Nearest products").get_by_role("link").first).to_be_visible()
        assert page.get_by_role("dialog").bounding_box()["width"] == 420  # type: ignore[index]
        page.get_by_role("button", name="Close").tap()
        page.get_by_text("Side by side").tap()
        expect(page.locator(".column:visible")).to_have_count(2)
        assert page.evaluate("document.documentElement.scrollWidth") == 420
