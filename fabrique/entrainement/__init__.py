"""Le réglage fin : apprendre un adaptateur LoRA sur un modèle quantifié.

Le Trainer de transformers et peft font le travail ; ce paquet prépare les exemples, fixe leur
ordre, montre l'avancement, et ne perd rien de ce qui est appris quand il s'interrompt.
"""

import lazy_loader

# Rien n’est chargé d’avance : __init__.pyi dit où chaque nom se trouve.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
