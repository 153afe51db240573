"""From a Doc to tensors, without a Python loop per token."""
