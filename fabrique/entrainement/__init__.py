"""Le réglage fin : apprendre un adaptateur LoRA sur un modèle quantifié.

Le Trainer de transformers et peft font le travail ; ce paquet prépare les exemples, fixe leur
ordre, montre l'avancement, et ne perd rien de ce qui est appris quand il s'interrompt.
"""

from fabrique.entrainement.avancement import Suivi
from fabrique.entrainement.disque import verifier_disque
from fabrique.entrainement.entraineur import EntraineurParLongueur
from fabrique.entrainement.exemples import OrdreParLongueur
from fabrique.entrainement.marche import entrainer
from fabrique.entrainement.reglages import Reglages
from fabrique.entrainement.reprise import dernier_point_de_reprise
from fabrique.entrainement.resultat import ResultatEntrainement, memoire_pic, signer

__all__ = [
    "EntraineurParLongueur",
    "OrdreParLongueur",
    "Reglages",
    "ResultatEntrainement",
    "Suivi",
    "dernier_point_de_reprise",
    "entrainer",
    "memoire_pic",
    "signer",
    "verifier_disque",
]
