from .affichage import (
    Decoupe as Decoupe,
    Jeton as Jeton,
    decouper as decouper,
    montrer_jetons as montrer_jetons,
)
from .apprentissage import (
    entrainer_tokenizer as entrainer_tokenizer,
)
from .decoupeurs import (
    Decoupeur as Decoupeur,
    ouvrir as ouvrir,
)
from .mesure import (
    Cout as Cout,
    Fertilite as Fertilite,
    Rapport as Rapport,
    bruiter as bruiter,
    cout as cout,
    fertilite as fertilite,
)
