"""Why an item got its vector: attention, gradients and experts, drawn over its images and words."""
