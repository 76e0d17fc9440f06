from .admission import lire_document as lire_document
from .blocs import (
    Bloc as Bloc,
    Document as Document,
    Lieu as Lieu,
    PageLue as PageLue,
    ReglagesLecture as ReglagesLecture,
    Retrait as Retrait,
)
from .chantier import lire_dossier as lire_dossier
from .mise_en_fiches import en_fiches as en_fiches, situer as situer
from .numerisation import reconnaitre_image as reconnaitre_image
