"""``python -m vtprune_eval data get|check|sample TASK``: fetch a data set, look whether it is whole, look at it."""
