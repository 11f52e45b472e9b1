"""Learning from a teacher: an item is to be near and far from a batch's others as another model finds it.

Ours, not the paper's (arXiv 2511.12449). A search log says of each query which product is right; a teacher says of all
others too how wrong they are, which a small shop has too few purchases to tell.
"""

import torch
from torch import Tensor
from torch.nn import functional

from moon2.objective.precision import at_least_float32

TEACHER_TEMPERATURE, STUDENT_TEMPERATURE = 0.05, 0.07
NEVER = -1e4
"""A logit of no share: −inf would give NaN where a share of 0 meets another."""


def teacher_loss(
    anchors: Tensor, candidates: Tensor, teacher_anchors: Tensor, teacher_candidates: Tensor, counts: Tensor
) -> Tensor:
    """Mean over the anchors of KL( softmax(s_teacher / 0.05) ‖ softmax(s_student / 0.07) ).

    Anchors and candidates are two views of the same N items. An item is no candidate of itself: InfoNCE deals with it.

    Args:
        anchors, candidates: [N, D] unit vectors of the student.
        teacher_anchors, teacher_candidates: [N, E] unit vectors of the teacher, without gradient.
        counts: [N] bool, the items that take part; the vectors of others may be zeros.

    Returns:
        A scalar ≥ 0, float32 (float64 for float64 vectors); 0 where fewer than three items take part, since a share of
        one candidate is 1 in any model.
    """
    excluded = ~counts | torch.eye(len(counts), dtype=torch.bool, device=counts.device)

    def log_shares(rows: Tensor, columns: Tensor, temperature: float) -> Tensor:
        with torch.autocast(rows.device.type, enabled=False):
            logits = at_least_float32(rows) @ at_least_float32(columns).T / temperature
        return logits.masked_fill(excluded, NEVER).log_softmax(dim=1)

    student = log_shares(anchors, candidates, STUDENT_TEMPERATURE)
    teacher = log_shares(teacher_anchors, teacher_candidates, TEACHER_TEMPERATURE)
    each = functional.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
    return (each * counts).sum() / counts.sum().clamp(min=1)
