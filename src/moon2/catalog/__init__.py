"""The shop on disk: opening, writing and importing catalogues, and triplets to train on."""

from moon2.catalog.importing import ImportResult, import_catalogue
from moon2.catalog.layout import Reject
from moon2.catalog.store import Catalogue, CatalogueError, write_catalogue
from moon2.catalog.tables import ColumnMapping, LogMapping
from moon2.catalog.triplets import Triplet, mine_triplets, training_triplets, triplets_from_log

__all__ = [
    "Catalogue",
    "CatalogueError",
    "ColumnMapping",
    "ImportResult",
    "LogMapping",
    "Reject",
    "Triplet",
    "import_catalogue",
    "mine_triplets",
    "training_triplets",
    "triplets_from_log",
    "write_catalogue",
]
