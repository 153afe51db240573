<<<<<<< HEAD
"""Inference over structures: chains of tags, and what can be asked of them."""
=======
"""Inference over structures: what the scores of parts say of the whole."""
>>>>>>> 0c0346e (Add torch_parser: a deep biaffine parser with single-root trees)
