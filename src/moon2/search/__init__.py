"""An index of a shop's products: built from vectors, searched by words, photo or both, kept up to date."""

import os

# Read when LanceDB is imported, which otherwise warns on the terminal of its own coming changes at each search.
os.environ.setdefault("LANCEDB_LOG", "error")
