"""Any torch module becomes a first-class spaCy component."""

__version__ = "0.1.0"
