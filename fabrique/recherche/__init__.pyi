from .citations import Controle as Controle, controler_reponse as controler_reponse
from .index import Index as Index
from .passages import Fiche as Fiche, Passage as Passage, Trouve as Trouve
from .qdrant import IndexQdrant as IndexQdrant
from .reponse import Reponse as Reponse, repondre as repondre
