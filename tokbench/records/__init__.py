"""What was measured and how: records, protocols, stores and intervals; without torch."""
