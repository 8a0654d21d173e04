"""Why two figures differ: what differs in how they were measured, and what of the difference is whose."""
