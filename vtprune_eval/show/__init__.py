"""Pictures of single samples: what every method kept of a screenshot, and what the model then answered."""
