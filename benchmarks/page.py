"""The page of `moon2 serve` in a browser: how long a search takes there, and its pictures.

    python benchmarks/page.py latency runs/demo/index
    python benchmarks/page.py pictures runs/demo/index --out docs/images
    python benchmarks/page.py states runs/demo/index --out FOLDER [--beside OTHER_INDEX]

`latency` types 40 different searches and times each from its last letter to the frame after the new results. `pictures`
draws those of README, `states` what the page can look like, at two widths, light and dark, to be looked at.
It takes playwright (`pip install 'moon2[dev]'`) and Chromium (`apt install chromium`).
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
from serving import running

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
COLOURS = ("red", "blue", "striped", "green", "black", "navy", "white", "grey")
KINDS = ("dress", "boots", "watch", "lamp", "bag")
TIMED = """(text) => new Promise((done) => {
  const words = document.querySelector("#words");
  const list = document.querySelector(".gallery");
  const watch = new MutationObserver(() => {
    if (!list.querySelector(".card[data-id]")) return;
    watch.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begun)));
  });
  watch.observe(list, {childList: true});
  words.value = text;
  const begun = performance.now();
  words.dispatchEvent(new Event("input", {bubbles: true}));
})"""
FOUND = ".card[data-id]"
LOADED = """() => Promise.all([...document.images]
  .filter((image) => image.src && image.checkVisibility() && image.getBoundingClientRect().top < innerHeight)
  .map((image) => image.decode().catch(() => null)))"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures or draws, on a server of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("latency", "pictures", "states"))
    parser.add_argument("index")
    parser.add_argument("--beside")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args(arguments)
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise SystemExit("no browser is there: apt install chromium")
    beside = ["--beside", options.beside] if options.beside else []
    with running(options.index, *beside) as (port, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        address = f"http://127.0.0.1:{port}/"
        if options.what == "latency":
            print(latency(browser, address))
        else:
            options.out.mkdir(parents=True, exist_ok=True)
            (pictures if options.what == "pictures" else states)(browser, address, options.out)
        browser.close()


def latency(browser: Browser, address: str) -> str:
    """A line of what 40 searches took, one after the other."""
    page = browser.new_page()
    page.goto(address)
    page.wait_for_load_state("networkidle")  # the examples of the first screen are searches too
    times = []
    for words in (f"{colour} {kind}" for colour in COLOURS for kind in KINDS):
        times.append(page.evaluate(TIMED, words))
        page.evaluate(LOADED)
    median, late = np.quantile(times, [0.5, 0.95])
    return f"{len(times)} searches, from the last letter to painted results: median {median:.0f} ms, p95 {late:.0f} ms"


def pictures(browser: Browser, address: str, out: Path) -> None:
    """README's pictures, of the demo's index."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    show(page, f"{address}#q=red+flower+dress&is.brand=Solstice&is.brand=Castello&max=150")
    _save(page, out / "page.jpg")
    page = browser.new_page(viewport={"width": 1280, "height": 1180}, color_scheme="dark")
    show(page, f"{address}#q=red+dress&product=p00111&why=yes", ".heatmap:visible")
    _save(page, out / "page-why.jpg")


def states(browser: Browser, address: str, out: Path) -> None:
    """What the page can look like, as PNG files named by state, width and scheme."""
    for width in (1280, 420):
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": width, "height": 860}, color_scheme=scheme)

            def draw(state: str, page: Page = page, end: str = f"{width}-{scheme}.png") -> None:
                page.evaluate(LOADED)
                page.wait_for_timeout(500)  # the filters are there, and fades end
                page.screenshot(path=out / f"{state}-{end}")

            show(page, address, ".example img[src]")
            page.wait_for_timeout(1000)  # the other examples follow, one after another
            draw("start")
            show(page, f"{address}#q=red+dress")
            draw("results")
            photo = page.locator(f"{FOUND} img:visible").first.screenshot()
            if width < 860:
                page.click("#filters-toggle")
                draw("filters")
            show(page, f"{address}#q=red+dress&is.category=Dresses&max=150&scores=yes", f"{FOUND}, .message:visible")
            draw("filtered")
            show(page, f"{address}#q=dress&min=99999", ".message:visible")
            draw("empty")
            show(page, address, ".example")
            page.set_input_files("#photo-file", {"name": "photo.png", "mimeType": "image/png", "buffer": photo})
            page.fill("#words", "in blue")
            page.wait_for_selector(FOUND)
            draw("photo")
            show(page, f"{address}#q=red+dress")
            page.locator(f"{FOUND} .card-link").first.click()
            page.wait_for_selector(".neighbours a")
            draw("inspector")
            page.click(".show-heatmap")
            page.wait_for_selector(".heatmap:visible")
            page.locator(".heatmap").scroll_into_view_if_needed()
            draw("why")
            if page.locator("#indexes").count():
                show(page, f"{address}#q=red+dress&index=both")
                draw("two")
            page.route("**/v1/search", lambda route: route.abort())
            show(page, f"{address}#q=boots", ".message:visible")
            draw("error")
            page.evaluate("document.querySelector('#key').showModal()")
            draw("key")
            page.unroute("**/v1/search")
            page.goto(f"{address}docs")
            draw("docs")
            page.close()


def show(page: Page, address: str, until: str = FOUND) -> None:
    """Opens an address anew and waits for something, and for the photos in sight."""
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(until)
    page.evaluate(LOADED)


def _save(page: Page, file: Path) -> None:
    page.wait_for_timeout(500)  # the filters are there, and fades end
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").save(file, quality=82, optimize=True, progressive=True)


if __name__ == "__main__":
    main()
