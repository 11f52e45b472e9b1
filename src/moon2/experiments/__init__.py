"""Many runs compared: the method with its peers, and without each of its parts."""
