"""Training: recipes as data, objectives, and one loop that can stop and go on exactly."""
