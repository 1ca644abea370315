"""Training of the embedded micro model: pages, windows of text, batches, losses, forward."""
