"""A benchmark and a method for vtprune_eval."""
