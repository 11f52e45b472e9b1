"""The number format of the losses: never below float32.

A softmax over similarities divided by 0.05 spans ±20; bfloat16 resolves that to about 0.1, too coarse for a loss.
float64 stays float64, so that gradients can be checked by finite differences.
"""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor itself if it is float32 or float64, else (bfloat16, float16) a float32 copy that passes gradients."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
