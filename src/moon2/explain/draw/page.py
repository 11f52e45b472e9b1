"""An explanation as one HTML file with nothing beside it: for a phone, a desk and paper, light or dark.

Everything that a colour says is written as a figure too.
"""

from __future__ import annotations

import base64
import io

from PIL import Image

from moon2.explain.draw import panels
from moon2.explain.draw.colours import Colour, expert_colours, ink_on
from moon2.explain.explanation import Explanation
from moon2.templates import templates

_TEMPLATES = templates("moon2.explain.draw")


def render_page(explanation: Explanation) -> str:
    """The HTML; texts of the shop and of the query are escaped."""
    return _TEMPLATES.get_template("page.html.j2").render(
        explanation=explanation,
        title=panels.title(explanation),
        text=" ".join(word.text for word in explanation.words),
        rows=panels.panels(explanation, 420),
        patch_scale=panels.patch_scale(explanation),
        word_scale=panels.word_scale(explanation),
        gradient_scale=panels.GRADIENT_SCALE,
        attention_chips=panels.attention_chips(explanation),
        gradient_chips=panels.gradient_chips(explanation),
        modalities=panels.MODALITIES,
        expert_colours=expert_colours,
    )


def _hex_code(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _data_uri(image: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, quality=88)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


_TEMPLATES.filters.update(hex_code=_hex_code, data_uri=_data_uri, ink_on=ink_on)
