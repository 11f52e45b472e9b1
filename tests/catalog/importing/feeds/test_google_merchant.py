"""Feeds for Google Merchant Center: the same products from tabs, RSS and Atom."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from moon2.catalog.importing.feeds.feed import FeedSettings
from moon2.catalog.importing.feeds.google_merchant import _xml_rows
from moon2.catalog.importing.import_catalog import import_catalog
from moon2.catalog.importing.layouts import layout_of
from moon2.catalog.schema import CatalogError
from moon2.records import Product

TSV = (
    "id\ttitle\tdescription\timage link\tadditional_image_link\tprice\tsale_price\tbrand\t"
    "google_product_category\tproduct_type\titem_group_id\tage group\n"
    '00017\t"Trail" shoe\tLight & dry\thttps://s.example/1.jpg\thttps://s.example/2.jpg,https://s.example/3.jpg\t'
    "89.90 EUR\t79.90 EUR\tKante\t187\tShoes > Trail, Sale > Shoes\tG17\tadult\n"
)
ITEM = """
<{item}><g:id>00017</g:id><title>"Trail" shoe</title><{text}><![CDATA[Light & dry]]></{text}>
  <link>https://s.example/17</link><g:image_link>https://s.example/1.jpg</g:image_link>
  <g:additional_image_link>https://s.example/2.jpg</g:additional_image_link>
  <g:additional_image_link> https://s.example/3.jpg </g:additional_image_link>
  <g:price>89.90 EUR</g:price><g:sale_price>79.90 EUR</g:sale_price><g:brand>Kante</g:brand>
  <g:google_product_category>187</g:google_product_category>
  <g:product_type>Shoes &gt; Trail</g:product_type><g:product_type>Sale &gt; Shoes</g:product_type>
  <g:item_group_id>G17</g:item_group_id><g:age_group>adult</g:age_group>
  <g:shipping><g:country>DE</g:country><g:price>4.90 EUR</g:price></g:shipping>
</{item}>"""
HEAD = '<?xml version="1.0" encoding="{}"?>\n'
RSS = '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>{}</channel></rss>'
ATOM = '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0"><title>Shop</title>{}</feed>'
RSS_FEED = HEAD.format("utf-8") + RSS.format(ITEM.format(item="item", text="description"))
ATOM_FEED = HEAD.format("utf-16") + ATOM.format(ITEM.format(item="entry", text="summary"))
SHOE = Product(
    id="00017",
    title='"Trail" shoe',
    description="Light & dry",
    category=("Shoes", "Trail"),
    attributes={"brand": "Kante", "age_group": "adult", "item_group_id": "G17", "categories": "Sale > Shoes"},
    images=("https://s.example/1.jpg", "https://s.example/2.jpg", "https://s.example/3.jpg"),
    price=79.9,
)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("feed.txt", TSV.encode()),
        ("feed.xml", RSS_FEED.encode("utf-8-sig")),
        ("feed.xml.gz", gzip.compress(RSS_FEED.encode())),
        ("feed.xml", ATOM_FEED.encode("utf-16")),
    ],
)
def test_a_feed_in_any_of_its_forms_gives_the_same_product(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    settings = FeedSettings(all_categories=True)
    result = import_catalog(str(tmp_path / name), layout="google-merchant", out=tmp_path / "out", feed=settings)
    assert list(result.catalog.products()) == [SHOE]


def test_a_feed_that_is_broken_or_none_is_refused_in_one_line(tmp_path: Path) -> None:
    for text, message in (
        (RSS_FEED[:-40], r"is not XML after 1 products \(no element found|unclosed"),
        (RSS_FEED.replace("Kante", "K&nbsp;"), r"is not XML after 0 products \(undefined entity"),
        ("<html><body/></html>", "has no <item> "),
        ("sku,name\n1,Mat\n", "has no column for the id; export it .* or read it with --as csv"),
    ):
        (tmp_path / "feed.xml").write_text(text)
        with pytest.raises(CatalogError, match=message):
            import_catalog(str(tmp_path / "feed.xml"), layout="google-merchant", out=tmp_path / "out")
    with pytest.raises(CatalogError, match="name it --as google-merchant"):
        layout_of(tmp_path / "feed.xml")


def test_xml_is_read_in_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "feed.xml").write_text(RSS.format(ITEM.format(item="item", text="description") * 3_000))
    tracemalloc.start()
    count = sum(1 for _ in _xml_rows(tmp_path / "feed.xml", None))
    assert count == 3_000 and tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_sale_price_of_zero_is_none(tmp_path: Path) -> None:
    (tmp_path / "feed.txt").write_text("id\ttitle\tprice\tsale price\n1\tMat\t10.00 EUR\t0 EUR\n2\tGift\t0 EUR\t\n")
    catalog = import_catalog(str(tmp_path / "feed.txt"), layout="google-merchant", out=tmp_path / "out").catalog
    assert [product.price for product in catalog.products()] == [10, 0]
