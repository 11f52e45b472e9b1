"""Learning an encoder from a catalog and its search log."""
