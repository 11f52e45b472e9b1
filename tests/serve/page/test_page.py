"""The page, used in a browser with clicks and keys on a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from support.running_server import running_server
from support.served_page import AUGMENTED, HOSTILE, HOSTILE_ID, cards, narrow, opened, search

from moon2 import Product
from moon2.catalog.store import Catalog

PASTE_OR_DROP = """([bytes, kind]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "photo.png", {type: "image/png"}));
  const event = kind === "paste" ? new ClipboardEvent(kind, {clipboardData: data, bubbles: true, cancelable: true})
    : new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
  document.body.dispatchEvent(event);
}"""


def busy(route: Route) -> None:
    route.fulfill(status=503, json={"error": {"message": "busy"}})


def shown_ids(page: Page) -> list[str]:
    return [card.get_attribute("data-id") or "" for card in cards(page).all()]


@pytest.fixture(scope="module")
def photo_of(page_shop: Catalog) -> Product:
    """A product that is nothing but a photo."""
    return next(product for product in page_shop.products() if product.images and not product.title)


def test_results_follow_while_typing_and_back_leads_to_the_search_before(page: Page) -> None:
    expect(page.get_by_role("heading", name="What are you looking for?")).to_be_visible()
    page.get_by_role("searchbox").press_sequentially("dress", delay=20)
    expect(cards(page)).to_have_count(24)
    expect(page.get_by_role("status")).to_have_text(re.compile(r"The first 24 products of 82, in \d+ ms"))
    expect(page).to_have_url(re.compile("#q=dress$"))
    expect(cards(page).first).to_contain_text(re.compile("dress|gown", re.IGNORECASE))
    page.get_by_role("searchbox").press("Enter")
    search(page, "boots")
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value("dress")
    page.go_back()
    expect(page.get_by_role("heading", name="What are you looking for?")).to_be_visible()


def test_the_space_after_a_word_stays_when_the_search_begins(page: Page) -> None:
    words = page.get_by_role("searchbox")
    expect(words).to_be_focused()
    page.keyboard.insert_text("red ")
    expect(page).to_have_url(re.compile("#q=red$"))
    page.keyboard.insert_text("dress")
    expect(words).to_have_value("red dress")
    page.keyboard.press("Home")
    page.keyboard.insert_text("long ")
    expect(page).to_have_url(re.compile(r"#q=long\+red\+dress$"))
    assert words.evaluate("words => words.selectionStart") == len("long ")


def test_enter_asks_again_for_what_failed(page: Page) -> None:
    page.goto("about:blank")
    page.route("**/v1/facets*", busy)
    page.goto("/")
    expect(page.locator("#status")).to_have_text("Busy")
    page.unroute_all()
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_role("group", name="colour")).to_be_visible()
    expect(page.locator("#status")).to_be_empty()
    page.route("**/v1/search", busy)
    page.get_by_role("searchbox").fill("shirt")
    expect(page.get_by_role("alert")).to_have_text("Busy")
    page.unroute_all()
    page.get_by_role("searchbox").press("Enter")
    expect(cards(page)).to_have_count(24)


def test_examples_without_a_photo_get_it_when_the_start_is_shown_again(page: Page) -> None:
    page.goto("about:blank")
    page.route("**/v1/search", busy, times=1)
    page.goto("/")
    empty = page.locator("#start-examples img:not([src], [hidden])")
    expect(empty).to_have_count(1)
    search(page, "shirt")
    page.get_by_role("link", name="moon2").click()
    expect(page.get_by_role("heading", name="What are you looking for?")).to_be_visible()
    expect(empty).to_have_count(0)


def test_more_is_asked_for_page_by_page_and_two_quick_clicks_leave_nothing_out(page: Page, address: str) -> None:
    asked: list[dict[str, int]] = []
    page.on("request", lambda sent: asked.append(sent.post_data_json) if "v1/search" in sent.url else None)
    search(page, "dress")
    expect(cards(page)).to_have_count(24)
    # Both before an answer, however slow the machine is.
    page.get_by_role("button", name="Show more").evaluate("more => { more.click(); more.click(); }")
    expect(cards(page)).to_have_count(48)
    page.get_by_role("button", name="Show more").click()
    expect(cards(page)).to_have_count(82)
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^82 products of 82"))
    assert [(each["offset"], each["limit"]) for each in asked[-2:]] == [(24, 24), (48, 48)]
    whole = page.request.post(f"{address}/v1/search", data={"text": "dress", "limit": 200}).json()["hits"]
    assert shown_ids(page) == [hit["id"] for hit in whole]


def test_an_answer_that_comes_too_late_is_dropped_and_a_slow_one_announced(page: Page) -> None:
    held: list[Route] = []
    page.route(
        "**/v1/search",
        lambda route: held.append(route) if "boots" in (route.request.post_data or "") else route.continue_(),
    )
    page.get_by_role("searchbox").fill("boots")
    expect(page.locator(".skeleton").first).to_be_visible()
    expect(page.locator(".column").first).to_have_attribute("aria-busy", "true")
    expect(page.get_by_role("status")).to_have_text("Searching…")
    search(page, "watch")
    before = shown_ids(page)
    held[0].fulfill(json={"hits": [], "took_ms": 1, "index": {"name": "shop", "products": 82, "version": 1}})
    page.wait_for_timeout(100)
    assert shown_ids(page) == before
    assert not page.locator(".column").first.get_attribute("aria-busy")


def test_filters_narrow_the_results_and_are_removed_by_their_chips(page: Page) -> None:
    search(page, "red")
    colour = page.get_by_role("group", name="colour").locator("li span")
    names = [str(colour.nth(at).text_content()) for at in range(2)]
    chips = page.get_by_role("list", name="Chosen")
    for name in names:
        narrow(page, "colour", name)
        expect(chips).to_contain_text(f"colour: {name}")
    counts = page.get_by_role("group", name="colour").locator("li", has=page.locator(":checked")).locator("small")
    products = sum(int(count) for count in counts.all_text_contents())
    expect(page.get_by_role("status")).to_have_text(re.compile(rf"^(The first 24|{products}) products?, in \d+ ms"))
    category = str(cards(page).first.locator(".card-category").text_content())
    narrow(page, "category", category)
    expect(chips).to_contain_text(f"category: {category}")
    expect(cards(page).locator(".card-category").filter(has_not_text=category)).to_have_count(0)
    page.get_by_role("spinbutton", name="Lowest price").fill("99999")
    expect(page.get_by_role("alert")).to_have_text("Nothing passes these filters. Remove one of them above.")
    page.get_by_role("button", name="Remove from").click()
    page.get_by_role("button", name=f"Remove colour: {names[0]}").click()
    expect(chips).not_to_contain_text(names[0])
    page.get_by_role("button", name="Clear all").click()
    expect(chips).to_be_hidden()
    expect(cards(page)).to_have_count(24)


def test_filters_alone_search_for_what_they_say(page: Page) -> None:
    box = page.get_by_role("group", name="category").get_by_role("checkbox").nth(1)
    category = str(box.evaluate("box => box.nextElementSibling.nextElementSibling.textContent"))
    box.check()
    expect(cards(page).first).to_contain_text(category)
    expect(cards(page).locator(".card-category").filter(has_not_text=category)).to_have_count(0)


def test_a_click_counts_though_new_filters_come_while_the_button_is_held(page: Page) -> None:
    held: list[Route] = []
    page.route("**/v1/facets*", lambda route: held.append(route))
    colours = page.get_by_role("group", name="colour").locator("li")
    names = [str(colours.nth(at).locator("span").text_content()) for at in range(2)]
    colours.nth(0).click()
    expect(page.get_by_role("list", name="Chosen")).to_contain_text(names[0])
    second = colours.nth(1).locator("span")
    second.evaluate("span => span.closest('.facet').classList.add('old')")
    second.hover()
    page.mouse.down()
    while held:
        with page.expect_response("**/v1/facets*"):
            held.pop().continue_()
    page.wait_for_timeout(100)  # in which nothing is to be drawn
    page.mouse.up()
    page.unroute_all()
    expect(page.get_by_role("list", name="Chosen")).to_contain_text(names[1])
    expect(page.locator(".facet.old")).to_have_count(0)


def test_limits_of_the_price_are_kept_however_quickly_one_goes_on(page: Page) -> None:
    search(page, "shirt")
    lowest = page.get_by_role("spinbutton", name="Lowest price")
    lowest.fill("20")
    page.keyboard.press("Tab")
    page.keyboard.insert_text("90")
    expect(page).to_have_url(re.compile("#q=shirt&min=20&max=90$"))
    expect(lowest).to_have_value("20")
    lowest.fill("30")
    # Found and clicked in one step: the filters are drawn anew at any moment, and a click on an old one is lost.
    page.evaluate("document.querySelector('.facet [data-facet^=category]').click()")
    expect(page).to_have_url(re.compile("#q=shirt&is.category=[^&]+&min=30&max=90$"))
    expect(lowest).to_have_value("30")
    lowest.fill("40")
    page.get_by_role("button", name="Remove up to").evaluate("chip => chip.click()")
    expect(page).to_have_url(re.compile("&min=40$"))


def test_a_column_whose_name_is_none_in_sql_narrows_too(page: Page) -> None:
    page.get_by_role("group", name="3d").get_by_role("checkbox").check()
    expect(cards(page)).to_have_count(1)
    expect(cards(page)).to_have_attribute("data-id", AUGMENTED)


@pytest.mark.parametrize("way", ["pick", "paste", "drop"])
def test_a_photo_finds_its_product_alone_and_with_words(page: Page, photo_of: Product, way: str) -> None:
    photo = photo_of.images[0]
    assert isinstance(photo, bytes)
    if way == "pick":
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Search with a photo").click()
        chooser.value.set_files({"name": "photo.png", "mimeType": "image/png", "buffer": photo})
    else:
        page.evaluate(PASTE_OR_DROP, [list(photo), way])
    expect(page.get_by_alt_text("The photo to search with")).to_be_visible()
    expect(cards(page).first).to_have_attribute("data-id", photo_of.id)
    if way == "pick":
        with page.expect_request("**/v1/search") as request:
            page.get_by_role("searchbox").fill("in blue")
        assert request.value.headers["content-type"].startswith("multipart/form-data")
        page.get_by_role("button", name="Scores").click()
        expect(cards(page).filter(has_text=re.compile(r"vectors #\d+ · words #\d+")).first).to_be_visible()
    page.get_by_role("button", name="Remove the photo").click()
    expect(page.get_by_alt_text("The photo to search with")).to_be_hidden()


def test_a_photo_that_is_none_and_one_that_is_gone_are_told_of(page: Page) -> None:
    page.evaluate(PASTE_OR_DROP, [[1, 2, 3], "paste"])
    expect(page.get_by_role("alert")).to_have_text(re.compile("image", re.IGNORECASE))
    page.evaluate(PASTE_OR_DROP, [17 * 2**20, "drop"])  # so many zeros
    expect(page.get_by_role("alert")).to_have_text(re.compile("more than 16,777,216 bytes"))
    page.reload()
    expect(page.get_by_role("alert")).to_have_text(re.compile("not here any more"))


def test_more_like_this_and_why(page: Page) -> None:
    search(page, "bag")
    first = cards(page).first
    title = str(first.locator(".card-title").text_content())
    first.hover()
    first.get_by_role("button", name=f"Why {title} is here").click()
    why = page.get_by_role("region", name="Why it is here")
    expect(why).to_contain_text("rank by vectors")
    expect(why).to_contain_text("rank by words")
    expect(why.get_by_role("img")).to_be_visible()
    assert why.get_by_role("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 720
    page.get_by_role("button", name="Close").click()
    first.hover()
    first.get_by_role("button", name=f"More like {title}").click()
    expect(page.get_by_role("list", name="Chosen")).to_contain_text(f"like {title}")
    expect(first.locator(".card-title")).not_to_have_text(title)
    expect(cards(page)).to_have_count(24)
    page.get_by_role("button", name="Scores").click()
    expect(first.locator(".card-scores")).to_have_text(re.compile(r"cosine 0\.\d+ · vectors #1"))


def test_the_inspector_shows_a_product_has_an_address_and_back_closes_it(page: Page, address: str) -> None:
    page.goto(f"/#product={AUGMENTED}")
    dialog = page.get_by_role("dialog", name="Plain vase")
    expect(dialog.get_by_text("Plain teal vase of glass")).to_be_visible()
    expect(dialog.get_by_alt_text("Made photo 1")).to_be_visible()
    dialog.get_by_role("button", name="Photo 2 of 2").click()
    expect(dialog.locator(".picture.large img")).to_have_attribute("src", re.compile("/images/1"))
    dialog.get_by_role("button", name="Predict").click()
    expect(dialog.get_by_role("region", name="Predicted labels")).to_contain_text(re.compile(r"category.+\(\d+%\)"))
    neighbour = dialog.get_by_role("list", name="Nearest products").get_by_role("link").first
    neighbour.click()
    expect(dialog).to_be_hidden()  # it has another name now
    expect(page.get_by_role("dialog")).to_be_visible()
    page.go_back()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page).to_have_url(f"{address}/")
    search(page, "shirt")
    cards(page).nth(1).get_by_role("link").click()
    expect(page.get_by_role("dialog").get_by_text("id", exact=True)).to_be_visible()
    page.go_back()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page).to_have_url(re.compile("#q=shirt$"))
    page.goto("/#product=nowhere")
    expect(page.get_by_role("dialog")).to_contain_text("There is no product 'nowhere'")


def test_two_indexes_stand_side_by_side(page: Page) -> None:
    search(page, "cotton")
    page.get_by_text("Side by side").click()
    both = page.locator(".column:visible")
    expect(both).to_have_count(2)
    expect(both.nth(0).get_by_role("heading", name="shop")).to_be_visible()
    expect(both.nth(1).get_by_role("heading", name="titles")).to_be_visible()
    expect(both.nth(1).locator(".card-there").first).to_have_text(re.compile(r"#1, (#\d+|not shown) in the other"))
    lists = [
        both.nth(number).locator(".card").evaluate_all("all => all.map((one) => one.dataset.id)") for number in (0, 1)
    ]
    assert len(lists[0]) == len(lists[1]) == 24 and lists[0] != lists[1]
    both.nth(1).get_by_role("link").first.click()
    expect(page).to_have_url(re.compile("of=1"))
    expect(page.get_by_role("region", name="Why it is here")).to_be_visible()


def test_texts_of_a_shop_are_texts(page: Page) -> None:
    search(page, HOSTILE_ID)
    expect(cards(page).first).to_have_attribute("data-id", HOSTILE_ID)
    expect(cards(page).first.locator(".card-title")).to_have_text(HOSTILE)
    expect(cards(page).first.get_by_text("no photo")).to_be_visible()
    cards(page).first.get_by_role("link").click()
    dialog = page.get_by_role("dialog", name=HOSTILE)
    expect(dialog).to_contain_text("<script>document.title='owned'</script>")
    expect(dialog).to_contain_text("<i>Home</i> › <u>Tables</u>")
    dialog.get_by_role("button", name="Predict").click()
    expect(dialog.get_by_role("list", name="Nearest products").get_by_role("link")).to_have_count(12)
    dialog.get_by_role("button", name="More like this").click()
    expect(page.get_by_role("list", name="Chosen")).to_contain_text(f"like {HOSTILE}")
    page.get_by_role("group", name="brand").get_by_role("button", name="Show all").click()
    page.get_by_role("group", name="brand").get_by_text("O'Neill <script>").click()
    expect(page.get_by_role("alert")).to_have_text(re.compile("Nothing passes"))
    page.goto(f"/#q={HOSTILE}&like=<img src=x onerror=alert(1)>&is.<b>=<b>&product=<b>")
    expect(page.get_by_role("dialog")).to_contain_text("There is no product '<b>'")
    assert "owned" not in page.title()
    assert page.locator("main img[src=x], dialog img[src=x], dialog script, main script, main svg[onload]").count() == 0


def test_what_the_server_refuses_is_told_in_its_words(page: Page) -> None:
    for column in ("nothing", "constructor"):  # every object of a script has the latter
        page.goto(f"/#q=shirt&is.{column}=1")
        expect(page.get_by_role("alert")).to_have_text(re.compile(column))
    page.route("**/v1/search", lambda route: route.abort())
    page.goto("/#q=shirts")
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached. Is it still running?")


def test_a_server_with_keys_gets_one_once(browser: Browser, page_indexes: list[str], tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("secret\n")
    with running_server(page_indexes[0], api_keys=tmp_path / "keys") as server:
        for page in opened(browser, server.address):
            key = page.get_by_role("dialog", name="This server asks for a key")
            expect(key).to_be_visible()
            page.keyboard.press("Escape")
            expect(key).to_be_hidden()
            page.get_by_role("searchbox").fill("dress")
            key.get_by_label("API key").fill("wrong")
            page.keyboard.press("Enter")
            expect(key.get_by_role("alert")).to_contain_text("not accepted")
            key.get_by_label("API key").fill("secret")
            page.keyboard.press("Enter")
            search(page, "dress")
            expect(key).to_be_hidden()
            cards(page).first.get_by_role("button", name="Why").click()
            page.get_by_role("dialog").locator(".heatmap").wait_for()
            for place in (".card", ".inspector-photos", ".neighbours", ".inspector-why"):
                photo = page.locator(f"{place} img:visible").first
                expect(photo).to_have_attribute("src", re.compile("^blob:"))
                assert photo.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
            before = page.locator(".card img:visible").first.get_attribute("src")
            page.goto(f"/#product={AUGMENTED}")
            strips = page.locator(".strip img")
            expect(strips).to_have_count(3)
            for photo in strips.all():
                expect(photo).to_have_attribute("src", re.compile("^blob:"))
            page.get_by_role("button", name="Close").click()
            search(page, "dress")
            photo = page.locator(".card img:visible").first
            expect(photo).to_have_attribute("src", re.compile("^blob:"))
            assert photo.get_attribute("src") != before  # it may have changed on the server
