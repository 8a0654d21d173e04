"""What VAR and Infinity share."""
