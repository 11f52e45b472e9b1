"""The shop on disk: a catalog of products and its search log."""
