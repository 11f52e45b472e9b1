"""`moon2 evaluate`: where the figures are written, and comparing a model with any other that was evaluated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.coloured_shop import twins, write_test_catalog

from moon2.catalog.store import Catalog
from moon2.evaluate.evaluate import evaluate
from moon2.evaluate.per_query import read_query_scores
from moon2.evaluate.report.report import report
from moon2.evaluate.result import Evaluation
from moon2.evaluate.test_set import EvaluationError, read_test_set
from moon2.run_folder import RunError


@pytest.fixture
def run(small_encoder_folder: Path, tmp_path: Path) -> Path:
    """A run, so far not evaluated."""
    shutil.copytree(small_encoder_folder, tmp_path / "run" / "model")
    return tmp_path / "run"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return write_test_catalog(tmp_path, *twins())


def test_a_runs_figures_are_written_into_it(run: Path, catalog: Catalog) -> None:
    result = evaluate(str(run), data=catalog.folder)
    assert Evaluation.read(run / "evaluation.json") == result.evaluation
    assert result.evaluation.model == str(run)
    scores, fingerprint = read_query_scores(run / "evaluation-queries.parquet")
    assert fingerprint == result.evaluation.fingerprint == read_test_set(catalog).fingerprint
    assert {"t→mm", "class (mm)", "colour (t)"} <= scores.keys()
    assert "t→mm" in str(result) and "difference" not in str(result)


def test_another_models_figures_are_named_after_it(
    dual_checkpoints: dict[str, Path], catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder gets them; a model of the hub has none here."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(dual_checkpoints["clip"], tmp_path / "clip")
    evaluate("clip", data=catalog.folder)
    assert (tmp_path / "clip" / "evaluation.json").is_file()
    monkeypatch.setattr("moon2.encoders.load.load_encoder", _always(dual_checkpoints["clip"]))
    evaluate("organisation/clip", data=catalog.folder)
    assert (tmp_path / "evaluations" / "organisation--clip.json").is_file()
    result = evaluate("clip", data=catalog.folder, against="organisation/clip")
    assert "difference to organisation/clip" in str(result)


def _always(folder: Path) -> Callable[..., object]:
    """Stands for the hub: every name gives this model."""
    from moon2.encoders.load import load_encoder

    return lambda source, **options: load_encoder(folder, **options)


def test_a_model_is_compared_with_any_other_however_that_is_named(run: Path, catalog: Catalog, tmp_path: Path) -> None:
    evaluate(str(run), data=catalog.folder, out=tmp_path / "new" / "other.json")
    evaluate(str(run), data=catalog.folder)
    for name in (run, tmp_path / "new" / "other.json", tmp_path / "new" / "other-queries.parquet"):
        text = str(evaluate(str(run), data=catalog.folder, against=str(name)))
        assert f"difference to {name}" in text and "+0.0" in text


def test_another_gallery_cannot_be_compared(run: Path, catalog: Catalog, tmp_path: Path) -> None:
    other = write_test_catalog(tmp_path / "other", twins()[0][:6], twins()[1][:3])
    evaluate(str(run), data=catalog.folder)
    before = (run / "evaluation.json").read_bytes()
    for data, limit in ((catalog.folder, 7), (other.folder, None)):
        with pytest.raises(EvaluationError, match=r"(scored on other queries|evaluated with --limit 7).*same --limit"):
            evaluate(str(run), data=data, limit=limit, against=str(run))
    assert (run / "evaluation.json").read_bytes() == before
    with pytest.raises(EvaluationError, match=r"no--such-model-queries\.parquet: .*run `moon2 evaluate` on it first"):
        evaluate(str(run), data=catalog.folder, against="no/such-model")


def test_attributes_and_the_words_of_labels_can_be_chosen(run: Path, catalog: Catalog) -> None:
    evaluate(str(run), data=catalog.folder, attributes=("colour",), label_prompt="a photo of {}", limit=7)
    values = json.loads((run / "evaluation-limited.json").read_text())
    tasks = {"class", "class, in phrases", "colour", "colour, in phrases"}
    assert (set(values["zero_shot"]), values["limit"]) == (tasks, 7)
    with pytest.raises(EvaluationError, match=r"--label_prompt is 'a photo'; put \{\} where the label is to stand"):
        evaluate(str(run), data=catalog.folder, label_prompt="a photo")
    with pytest.raises(EvaluationError, match="no product has the attribute 'size'"):
        evaluate(str(run), data=catalog.folder, attributes=("size",))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (None, r"nowhere: there is no such run; `moon2 train … --out .*nowhere` makes one"),
        ("notes.txt", "is not a run"),
        ("recipe.yaml", "training is not finished; go on with the same `moon2 train` and --resume"),
    ],
)
def test_a_folder_without_a_model_is_refused(file: str | None, message: str, catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    if file:
        folder.mkdir()
        (folder / file).touch()
    with pytest.raises(RunError, match=message):
        evaluate(str(folder), data=catalog.folder, out=tmp_path / "new" / "figures.json")
    assert not (tmp_path / "new").exists(), "a mistyped run leaves no folder behind"


def test_a_quick_look_does_not_replace_the_whole_evaluation(run: Path, catalog: Catalog, tmp_path: Path) -> None:
    evaluate(str(run), data=catalog.folder, limit=6)
    assert "a quick look: at most 6 products" in report(run, data=catalog.folder).read_text()
    evaluate(str(run), data=catalog.folder)
    whole = (run / "evaluation.json").read_bytes()
    # Two quick looks are compared with each other.
    assert "R@5" in evaluate(str(run), data=catalog.folder, limit=6, against=str(run)).comparison
    assert (run / "evaluation.json").read_bytes() == whole
    assert Evaluation.read(run / "evaluation-limited.json").limit == 6
    assert "quick look" not in report(run, data=catalog.folder).read_text()
