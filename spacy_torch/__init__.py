"""Any torch module becomes a first-class spaCy component."""

from spacy_torch.accelerate import accelerate as accelerate
from spacy_torch.architectures.encoder import Encoder as Encoder
from spacy_torch.architectures.module import build_module as build_module
from spacy_torch.bridge.model import wrap_module as wrap_module
from spacy_torch.bridge.runtime import Runtime as Runtime
from spacy_torch.features.boxes import Box as Box
from spacy_torch.features.boxes import register_boxes as register_boxes
from spacy_torch.features.boxes import set_boxes as set_boxes
from spacy_torch.features.image_docs import get_picture as get_picture
from spacy_torch.features.image_docs import set_picture as set_picture
from spacy_torch.features.relations import Relation as Relation
from spacy_torch.features.relations import register_relations as register_relations
from spacy_torch.features.relations import set_relations as set_relations
from spacy_torch.inference.annotator import Annotator as Annotator
from spacy_torch.nn.ragged import Ragged as Ragged
from spacy_torch.registry import encoders as encoders
from spacy_torch.registry import losses as losses

__version__ = "0.1.0"
