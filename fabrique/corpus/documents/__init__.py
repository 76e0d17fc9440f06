"""Les documents : d'un PDF, d'un DOCX, d'un ODT ou d'une page, aux fiches."""

import lazy_loader

# Rien n’est chargé d’avance : __init__.pyi dit où chaque nom se trouve.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
