from .constats import (
    Constat as Constat,
    Controle as Controle,
)
from .controle import (
    controler as controler,
    verifier_encodage as verifier_encodage,
)
from .conversion import (
    convertir as convertir,
)
from .entites import (
    Entite as Entite,
    lire_phrases as lire_phrases,
)
from .formats import (
    COLONNES as COLONNES,
)
from .lecture import (
    colonnes_du_fichier as colonnes_du_fichier,
    jeu as jeu,
    lire_corpus as lire_corpus,
    repartir as repartir,
)
from .noms import (
    avec_les_noms as avec_les_noms,
)
from .personnelles import (
    Trouvaille as Trouvaille,
    donnees_personnelles as donnees_personnelles,
    doublons_exacts as doublons_exacts,
    pseudonymiser as pseudonymiser,
)
from .preparation import (
    preparer_corpus as preparer_corpus,
)
from .reperage import (
    trouver_les_entites as trouver_les_entites,
)
from .selection import (
    Criteres as Criteres,
    selectionner as selectionner,
)
from .votes import (
    Avis as Avis,
    Preference as Preference,
    lire_votes as lire_votes,
)
