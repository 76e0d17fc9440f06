from .materiel import Machine as Machine, examiner as examiner
from .profil import Profil as Profil, choisir_profil as choisir_profil, preparer as preparer
