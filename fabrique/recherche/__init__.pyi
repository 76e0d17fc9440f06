from .index import Index as Index
from .passages import Fiche as Fiche, Passage as Passage, Trouve as Trouve
from .qdrant import IndexQdrant as IndexQdrant
