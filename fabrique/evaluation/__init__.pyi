from .comparaison import (
    Ecart as Ecart,
    Evaluation as Evaluation,
    comparer as comparer,
    courbe_d_apprentissage as courbe_d_apprentissage,
    evaluer as evaluer,
    tableau as tableau,
)
from .mesures import (
    ComparaisonPertes as ComparaisonPertes,
    Reponses as Reponses,
    comparer_pertes as comparer_pertes,
    mesurer_reponses as mesurer_reponses,
    pertes as pertes,
)
