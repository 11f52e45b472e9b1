"""What labels are predicted: the tasks by name, and whether an encoder reads the answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

CLASS = "class"
"""The task of predicting the leaf of the category."""

PHRASED = ", in phrases"
"""What the name of a task ends with where each label is said in phrases too, see `moon2.vectors.label_texts`."""

WEIGHED = ", weighed"
"""What the name of a task ends with where each label, said alone, counts by how common it is."""

COLOUR_ATTRIBUTES = ("base_colour", "colour", "color")
"""Attributes predicted when none are named: the first of these that the products have."""


def colour_attribute(known: Collection[str]) -> list[str]:
    """The first of `COLOUR_ATTRIBUTES` that is known, or nothing."""
    return [name for name in COLOUR_ATTRIBUTES if name in known][:1]


def form_of(task: str) -> str:
    """`PHRASED` or `WEIGHED` where a task's name ends so, else ""."""
    return next((form for form in (PHRASED, WEIGHED) if task.endswith(form)), "")


def attribute_task(name: str) -> str:
    """What predicting an attribute is called: as the attribute, unless that is called as the category's task is."""
    return f"attribute {name}" if name == CLASS else name


def field_with_label(task: str, fields: Sequence[str]) -> str:
    """The field among those that an encoder reads which holds the label to be predicted; "" where none does."""
    holders = ("category",) if task == CLASS else (task, "attributes")
    return next((field for field in fields if attribute_task(field) in holders), "")
