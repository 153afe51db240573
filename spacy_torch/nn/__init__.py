"""Plain torch modules and losses, free of spaCy and Thinc."""
