"""Titles as sets of words."""

from __future__ import annotations

from moon2.catalog.titles import title_words


def test_words_of_titles_with_and_without_spaces() -> None:
    assert title_words("Blue-Shirt XL") == {"blue", "shirt", "xl"}
    assert title_words("男士衬衫 Nike") == {"男士", "士衬", "衬衫", "nike"}
    assert "เสื้อ"[:2] in title_words("เสื้อเชิ้ต")
