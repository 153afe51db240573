"""Any torch module becomes a first-class spaCy component."""

from spacy_torch.registry import encoders as encoders
from spacy_torch.registry import losses as losses

__version__ = "0.1.0"
