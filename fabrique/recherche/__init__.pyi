from .index import Index as Index
from .qdrant import IndexQdrant as IndexQdrant
from .passages import Fiche as Fiche, Passage as Passage, Trouve as Trouve
