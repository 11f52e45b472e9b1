"""Rows by their numbers: what comes back to a row are the gradients of all its copies."""

from __future__ import annotations

import pytest
import torch

from moon2.model.rows import select_rows


@pytest.mark.parametrize("source", [[2, 0, 1, 1, 0, 2], [1, 2, 0]], ids=["twice each", "once each"])
def test_gradients_of_copied_rows_by_finite_differences(source: list[int]) -> None:
    copies = torch.tensor(source).argsort(stable=True)  # where the copies of row 0 went, then those of row 1, …
    matrix = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda matrix: select_rows(matrix, torch.tensor(source), copies), (matrix,))
