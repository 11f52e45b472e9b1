"""The names of tasks, and what an encoder reads of their answers."""

from __future__ import annotations

from moon2.vectors.label_tasks import field_with_label


def test_what_an_encoder_reads_may_hold_the_label() -> None:
    assert field_with_label("class", ["title", "category"]) == "category"
    assert field_with_label("colour", ["title", "attributes"]) == "attributes"
    assert field_with_label("colour", ["title", "category"]) == ""
    assert field_with_label("class", ["title", "class"]) == "", "a field called class is an attribute"
    assert field_with_label("attribute class", ["title", "class"]) == "class"
