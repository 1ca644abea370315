"""Pages, rendering and facts of the embedded mini suite (evaluation and training splits)."""
