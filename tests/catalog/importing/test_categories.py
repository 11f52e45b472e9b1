"""Categories: paths from root to leaf, however a shop writes them."""

from __future__ import annotations

import pytest

from moon2.catalog.importing.categories import CategoryReader


def read(*cells: object, separator: str | None = None) -> list[tuple[str, ...]]:
    """The categories of one column."""
    rows = [{"category": cell} for cell in cells]
    reader = CategoryReader(["category"], separator, rows)
    return [reader.read(row) for row in rows]


@pytest.mark.parametrize(
    "cell",
    [
        *[
            "Apparel > Shirts > Casual",
            "Apparel>Shirts>Casual",
            "Apparel &gt; Shirts &gt; Casual",
            "Apparel >> Shirts >> Casual",
        ],
        *[
            "Apparel » Shirts » Casual",
            "Apparel → Shirts → Casual",
            "Apparel -> Shirts -> Casual",
            "Apparel|Shirts|Casual",
        ],
        *[
            "> Apparel > > Shirts > Casual > ",
            "Apparel > Shirts > nan > Casual",
            "Apparel/Shirts/Casual",
            "/Apparel/Shirts/Casual",
        ],
        *[["Apparel", "Shirts", "Casual"], '["Apparel", "Shirts", "Casual"]', "['Apparel', 'Shirts', 'Casual']"],
        *[
            '[["Apparel", "Shirts", "Casual"], ["Sale"]]',
            '["Apparel >> Shirts >> Casual"]',
            "['Apparel' 'Shirts' 'Casual']",
        ],
        *[
            "Apparel > Shirts > Casual, Sale > Summer",
            "Apparel > Shirts > Casual; Sale",
            "Apparel > Shirts > Casual|Sale",
        ],
        *[
            ["Apparel", "Apparel > Shirts", "Apparel > Shirts > Casual"],
            {"lvl0": "Apparel", "lvl1": "Apparel > Shirts > Casual"},
        ],
        [{"id": 7, "name": "Apparel"}, {"id": 8, "name": "Shirts"}, {"id": 9, "name": "Casual"}],
    ],
    ids=str,
)
def test_a_category_is_a_path_however_it_is_written(cell: object) -> None:
    assert read(cell) == [("Apparel", "Shirts", "Casual")]


def test_several_columns_are_one_path() -> None:
    reader = CategoryReader(["a", "b", "c"], None)
    assert reader.read({"a": "Apparel", "b": "NULL", "c": "Shirts/Tops"}) == ("Apparel", "Shirts/Tops")
    assert reader.read({"a": "Apparel > Shirts", "b": "Shirts", "c": "Casual"}) == ("Apparel", "Shirts", "Casual")


@pytest.mark.parametrize("cell", ["", None, "nan", "NULL", "-", "[]", "[None]", " > "])
def test_no_category_is_none(cell: object) -> None:
    assert read(cell) == [()]


def test_slashes_with_spaces_split_where_one_path_of_the_column_shows_it() -> None:
    assert read("Living / Chairs / Wing chairs", "Lamps / Floor lamps", "24/7 wear") == [
        ("Living", "Chairs", "Wing chairs"),
        ("Lamps", "Floor lamps"),
        ("24/7 wear",),
    ]
    assert read("Lamps / Floor lamps") == [("Lamps / Floor lamps",)]


def test_a_slash_splits_only_after_a_known_root() -> None:
    assert read("Shoes/Boots", "Shoes/Sandals", "24/7 wear", "Hoodies/Sweatshirts") == [
        *[("Shoes", "Boots"), ("Shoes", "Sandals"), ("24/7 wear",), ("Hoodies/Sweatshirts",)]
    ]
    assert read("24/7 wear", "24/7 shoes") == [("24/7 wear",), ("24/7 shoes",)]
    assert read("Shoes", "Shoes / Boots") == [("Shoes",), ("Shoes", "Boots")]
    assert read("T-Shirts/Polos", "Jackets") == [("T-Shirts/Polos",), ("Jackets",)]
    assert read("Apparel > Kids/Baby", "Apparel/Shirts") == [("Apparel", "Kids/Baby"), ("Apparel", "Shirts")]


def test_a_comma_within_a_name_does_not_split() -> None:
    assert read("Home > Lamps, Lights & Fans > Desk", "Food, Beverages & Tobacco > Tea", "Shirts, Tops") == [
        *[("Home", "Lamps, Lights & Fans", "Desk"), ("Food, Beverages & Tobacco", "Tea"), ("Shirts, Tops",)]
    ]
    assert read("Home > Desk, Sale", "Sale > Summer")[0] == ("Home", "Desk")


def test_a_named_separator_is_the_only_one() -> None:
    assert read("Men - Shirts > x", separator=" - ") == [("Men", "Shirts > x")]
    assert read("A > B", separator="") == [("A > B",)]


def test_paths_of_magento_are_split_at_commas_before_their_root() -> None:
    cells = ["Default Category/Gear,Default Category/Gear/Bags", "Default Category/Men/Tops, Tees"]
    assert read(*cells) == [("Default Category", "Gear", "Bags"), ("Default Category", "Men", "Tops, Tees")]
