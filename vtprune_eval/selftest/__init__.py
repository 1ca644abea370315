"""``python -m vtprune_eval selftest``: does this machine compute what the harness says that it computes?"""
