"""What a run takes: weights, tokens, arithmetic, and the memory of a device."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What a run takes.

    Attributes:
        backbone: its name.
        devices: that train together.
        shard_weights: whether each of them holds a part of the weights.
        parameters: of the network.
        active: those of them that one token meets: of each layer's experts, k.
        trained: those that learn.
        steps: of the run.
        batch_size: triplets a step, of all devices.
        visual_tokens, text_tokens: of an item.
        tokens: a step, of all devices.
        operations: useful floating-point operations of a triplet.
        weights, optimizer, gradients, activations: bytes on a device at the largest moment of a step.
        loading: bytes on a device while it takes its part of weights that are to be sharded.
    """

    backbone: str
    devices: int
    shard_weights: bool
    parameters: int
    active: int
    trained: int
    steps: int
    batch_size: int
    visual_tokens: int
    text_tokens: int
    tokens: int
    operations: float
    weights: int
    optimizer: int
    gradients: int
    activations: int
    loading: int

    @property
    def peak(self) -> int:
        """The most bytes that the tensors on a device take at once."""
        return max(self.weights + self.optimizer + self.gradients + self.activations, self.loading)

    def __str__(self) -> str:
        gib = {name: getattr(self, name) / 2**30 for name in ("weights", "optimizer", "gradients", "activations")}
        where = "1 device"
        if self.devices > 1:
            held = "a part of the weights" if self.shard_weights else "all weights"
            where = f"{self.devices} devices that each hold {held}"
        elif self.shard_weights:
            where += "; set WORLD_SIZE to plan for several"
        lines = {
            "network": f"{self.backbone}, on {where}",
            "weights": f"{_count(self.parameters)}, {_count(self.active)} active, {_count(self.trained)} trained",
            "items": f"one image of {self.visual_tokens} visual tokens, {self.text_tokens} text tokens",
            "a step": f"{self.batch_size:,} triplets, {self.tokens:,} tokens",
            "arithmetic": f"{self.operations / 1e12:.3g} TFLOP a triplet, "
            f"{self.operations * self.batch_size * self.steps / 1e18:.3g} EFLOP in {self.steps:,} steps",
            "GiB a device": " + ".join(f"{name} {size:.2f}" for name, size in gib.items()),
        }
        if self.loading == self.peak:
            lines["to load"] = f"{self.loading / 2**30:.1f} GiB, before the weights are shared out"
        lines["in all"] = f"{self.peak / 2**30:.1f} GiB a device; leave a tenth free for what is not tensors"
        return "\n".join(f"{name:<14}{line}" for name, line in lines.items())


def _count(number: float) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.1f} million"
