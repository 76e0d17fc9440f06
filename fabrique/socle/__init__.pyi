from .erreurs import Divergence as Divergence, ErreurFabrique as ErreurFabrique
