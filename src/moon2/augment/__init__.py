"""Co-augmentation: enriched titles and expanded images, made offline and read by training only."""
