"""Jinja's settings for everything that moon2 writes from a template."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def templates(package: str) -> Environment:
    """The templates that lie in a package of moon2. Shops' texts are escaped in those that end in .html.j2.

    >>> templates("moon2.search").get_template("hits.html.j2")
    """
    return Environment(
        loader=PackageLoader(package, "."),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
