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
from .formats import (
    COLONNES as COLONNES,
)
from .lecture import (
    jeu as jeu,
    lire_corpus as lire_corpus,
    repartir as repartir,
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
from .selection import (
    Criteres as Criteres,
    selectionner as selectionner,
)
from .votes import (
    Avis as Avis,
    Preference as Preference,
    lire_votes as lire_votes,
)
