"""The command `moon2 heatmap`."""

from __future__ import annotations

import io
from pathlib import Path

from moon2.errors import UserError
from moon2.meant import did_you_mean_file


def heatmap(
    run: Path,
    *,
    out: Path,
    image: tuple[Path, ...] = (),
    text: str = "",
    query: str | None = None,
    layer: int | None = None,
) -> Path:
    """Draw what the encoder looks at, over an image and the words of a title.

    It shows the attention, rolled up over all layers or of one layer, and which expert handled which patch and
    word. With a query, it also shows what raises and lowers the similarity to it.

    examples:
      moon2 heatmap runs/shop --image photo.jpg --text "Nike men red shoes" --out heat.png
      moon2 heatmap runs/shop --image front.jpg back.jpg --query "running shoes" --out heat.html

    Args:
        run: folder of a run, or of a saved encoder
        out: file to write, .png or .html
        image: one or more image files of the product
        text: title of the product
        query: words of a search
        layer: one decoder layer, from 0; all are rolled up if it is left out

    Returns:
        The file written.

    Raises:
        UserError: another file ending, neither image nor text, no such run or layer, or an unreadable image.
    """
    if out.suffix.lower() not in (".png", ".html"):
        raise UserError(f"heatmap: --out is {out}; it must end in .png or .html")
    if not image and not text.strip():
        raise UserError("heatmap: there is nothing to look at; give --image FILE, --text WORDS, or both")
    for path in map(Path, image):
        if not path.is_file():
            raise UserError(f"heatmap: {path}: there is no such image file{did_you_mean_file(path)}")
    from moon2.files import require_writable, write_atomic, write_text_atomic
    from moon2.run_folder import RunFolder

    model = RunFolder(run).require_model()
    require_writable(out, "--out")
    from moon2.encoders.load import load_own
    from moon2.explain.draw.page import render_page
    from moon2.explain.draw.png import draw_png
    from moon2.explain.explain import explain
    from moon2.records import Product

    encoder = load_own(model)
    explanation = explain(encoder, Product("shown", text, images=image), query, layer)
    if out.suffix.lower() == ".png":
        drawn = io.BytesIO()
        draw_png(explanation).save(drawn, format="PNG")
        write_atomic(out, drawn.getvalue())
    else:
        write_text_atomic(out, render_page(explanation))
    return out
