"""Training of the embedded nano model."""
