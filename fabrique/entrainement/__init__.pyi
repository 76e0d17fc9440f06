from .avancement import (
    Suivi as Suivi,
)
from .disque import (
    verifier_disque as verifier_disque,
)
from .entraineur import (
    EntraineurParLongueur as EntraineurParLongueur,
)
from .exemples import (
    OrdreParLongueur as OrdreParLongueur,
)
from .marche import (
    entrainer as entrainer,
)
from .preferences import (
    apprendre_des_votes as apprendre_des_votes,
    mesurer_les_gains as mesurer_les_gains,
)
from .reglages import (
    Reglages as Reglages,
)
from .reglages_preferences import (
    ReglagesPreferences as ReglagesPreferences,
)
from .reprise import (
    dernier_point_de_reprise as dernier_point_de_reprise,
)
from .resultat import (
    ResultatEntrainement as ResultatEntrainement,
    memoire_pic as memoire_pic,
    signer as signer,
)
