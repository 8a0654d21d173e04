"""The model behind the tokens: one causal language model that draws, edits, completes and describes images."""
