"""The verbs of the command line, a file for each group of them.

A verb's function has its help as docstring. What it needs is imported inside it, so that help comes at once and
without torch.
"""

from moon2.commands import augmenting, benchmarking, catalogs, experimenting, explaining, training
from moon2.commands.verb import Verb

# In the order in which they are used.
_GROUPS = (
    catalogs.VERBS | augmenting.VERBS | benchmarking.VERBS | training.VERBS | explaining.VERBS | experimenting.VERBS
)
_ORDER = (
    "demo",
    "shop",
    "import",
    "benchmark",
    "augment",
    "train",
    "evaluate",
    "report",
    "heatmap",
    "compare",
    "ablate",
)
VERBS: dict[str, Verb] = {name: _GROUPS[name] for name in _ORDER}
