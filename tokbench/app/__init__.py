"""The page to try tokenizers and models on: a server for one's own machine, and what it shows."""
