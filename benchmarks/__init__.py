"""Speed, memory and learning, each as a ratio to spaCy's own in the same run."""
