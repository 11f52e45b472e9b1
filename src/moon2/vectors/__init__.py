"""A catalog as tables of vectors, and what is computed on them: nearest neighbours, ranks, nearest labels."""
