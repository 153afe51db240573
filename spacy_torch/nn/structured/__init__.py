"""Inference over structures: chains of tags, and what can be asked of them."""
