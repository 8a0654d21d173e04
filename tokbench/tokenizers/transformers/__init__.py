"""Image tokenizers of the library transformers, from the folders its ``save_pretrained`` writes."""
