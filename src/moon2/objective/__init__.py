"""What is minimised: pure functions of tensors that know neither the model nor the data, each citing its equation."""
