"""The verb that shows why an item got its vector: heatmap."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moon2.commands.verb import UsageError, Verb

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def _heatmap_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", help="folder of a run, or of a saved encoder")
    parser.add_argument("--image", action="append", metavar="FILE", help="a photo; may be given several times")
    parser.add_argument("--text", default="", help="the title")
    parser.add_argument("--query", metavar="WORDS", help="show also what raises and lowers the similarity to them")
    parser.add_argument("--layer", type=int, help="one decoder layer, from 0; left out, all are rolled up")
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write, .png or .html")


def _heatmap(typed: Namespace) -> None:
    """Draws what the encoder looks at, over a photo and the words of a title at once.

    Attention rolled up over all layers, or of one layer; which expert handled which patch and word; and,
    with a query, the gradient of the similarity to it.

    example:
      moon2 heatmap runs/shop --image photo.jpg --text "Nike men red shoes" --query "running shoes" --out heat.png
    """
    out, images, text = Path(typed["out"]), typed.get("image") or [], typed.get("text") or ""
    if out.suffix.lower() not in (".png", ".html"):
        raise UsageError(f"heatmap: --out is {out}; it must end in .png or .html")
    if not images and not text.strip():
        raise UsageError("heatmap: there is nothing to look at; give --image FILE, --text WORDS, or both")
    from moon2.runs import model_folder, quiet_libraries

    folder = model_folder(typed["run"])
    quiet_libraries()
    from moon2.explain.explain import explain
    from moon2.model.encoder import Encoder
    from moon2.records import Product

    encoder = Encoder.from_pretrained(folder)
    shown = Product("shown", text, images=tuple(images))
    explanation = explain(encoder, shown, query=typed.get("query"), layer=typed.get("layer"))
    (explanation.save_png if out.suffix.lower() == ".png" else explanation.save_html)(out)
    print(out)


VERBS = {
    "heatmap": Verb(
        _heatmap, _heatmap_arguments, "RUN [--image FILE …] [--text WORDS] [--query WORDS] [--layer N] --out FILE.png"
    ),
}
