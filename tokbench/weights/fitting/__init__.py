"""From what a checkpoint holds to the tensors of one model."""
