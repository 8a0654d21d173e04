"""The bench: one pass over the data under a recorded protocol, metrics, records."""
