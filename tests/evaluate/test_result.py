"""An evaluation is written as JSON and read back equal; anything else is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.coloured_shop import ColourAndKindEncoder, twins, write_test_catalog

from moon2.evaluate.result import Evaluation
from moon2.evaluate.score import score
from moon2.evaluate.test_set import EvaluationError


def test_an_evaluation_is_read_back_equal(tmp_path: Path) -> None:
    catalog = write_test_catalog(tmp_path, *twins())
    evaluation, _ = score(ColourAndKindEncoder(sees_colours=False), catalog, model="twins", limit=7)
    evaluation.write(tmp_path / "evaluation.json")
    assert Evaluation.read(tmp_path / "evaluation.json") == evaluation
    assert json.loads((tmp_path / "evaluation.json").read_text())["limit"] == 7


@pytest.mark.parametrize(
    "text", ["[]", "{", "{}", '{"recalls": 3}', '{"recalls": {}, "intervals": {}, "more": 1}', None]
)
def test_anything_else_is_refused_in_one_line(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(
        EvaluationError, match=r"evaluation\.json: is no evaluation .*run `moon2 evaluate` again"
    ) as error:
        Evaluation.read(path)
    assert "\n" not in str(error.value)
