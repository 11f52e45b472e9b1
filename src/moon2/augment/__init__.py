"""Co-augmentation: enriched titles and expanded images, made before training and read by training only."""
