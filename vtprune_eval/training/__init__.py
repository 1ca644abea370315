"""Fine-tuning with pruned tokens, through the stages of evaluation. ``train`` on the command line."""
