"""Why an item got its vector: attention, gradients and experts, drawn over its pictures and words."""
