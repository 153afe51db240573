"""The commands added to ``python -m spacy``, one per file.

spaCy imports all of them before each of its own, so what takes long is imported inside them.
"""
