"""Inference over structures: chains of tags, trees over tokens, and what can be asked of them."""
