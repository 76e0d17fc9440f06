"""L'avancement : la barre, les mesures, et la demande d'arrêt."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, TrainerCallback

from fabrique.entrainement.disque import ecriture_expliquee
from fabrique.entrainement.resultat import historique
from fabrique.socle.emplacements import ecrire_signe
from fabrique.socle.nombres import en_francais, en_scientifique
from fabrique.socle.suivi import Barre


class Arret:
    """Change Ctrl-C, le bouton d'arrêt du carnet et SIGTERM en une demande, le temps d'un bloc.

    Le pas en cours s'achève, puis se sauvegarde. Une seconde demande arrête tout de suite.
    """

    SIGNAUX = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.demande = False
        self.anciens: dict[int, Any] = {}

    def __enter__(self) -> Arret:
        # Python ne laisse poser de gestionnaire que dans le fil principal.
        if threading.current_thread() is threading.main_thread():
            self.anciens = {s: signal.signal(s, self._recevoir) for s in self.SIGNAUX}
        return self

    def __exit__(self, *_: object) -> None:
        for numero, ancien in self.anciens.items():
            signal.signal(numero, ancien)

    def _recevoir(self, *_: object) -> None:
        if self.demande:
            raise KeyboardInterrupt
        self.demande = True


class Suivi(TrainerCallback):
    """Montre l'avancement : perte, taux d'apprentissage, époque, temps restant.

    ``pas_faits`` et ``duree_s`` ne comptent que ce lancement, jamais les pas d'une session précédente.
    Garde ce qui est mesuré d'un essai à l'autre, quand il faut recommencer avec moins de mémoire.

    Args:
        valider: rend la perte du modèle sur des exemples mis de côté ; elle se mesure à chaque
            relevé, et s'ajoute au journal du Trainer sous le nom « validation ».
        fichier: où écrire, à chaque relevé, où l'on en est ; None ne l'écrit pas.
    """

    def __init__(
        self,
        total: int,
        arret: Arret,
        valider: Callable[[PreTrainedModel], float] | None = None,
        fichier: Path | None = None,
    ) -> None:
        self.total, self.arret, self.details, self.valider = total, arret, "", valider
        self.fichier = fichier
        self.barre: Barre | None = None
        self.premier_pas, self.pas_faits, self.duree_s, self.depart = 0, 0, 0.0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ouvre la barre, au pas d'où l'on part : une reprise n'en laisse pas une vide au-dessus."""
        if self.barre is None:
            self.depart, self.premier_pas = time.monotonic(), state.global_step
            titre = "Reprise" if self.premier_pas else "Apprentissage"
            self.barre = Barre(self.total, titre, deja=self.premier_pas)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.pas_faits = state.global_step - self.premier_pas
        self.duree_s = time.monotonic() - self.depart
        if self.barre:
            self.barre.avancer(state.global_step, self.details)
        if self.arret.demande:
            control.should_save = control.should_training_stop = True

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: dict | None = None,
        model: Any = None,
        **_: Any,
    ) -> None:
        if self.barre and logs and "loss" in logs:
            validation = ""
            if self.valider:
                perte = state.log_history[-1]["validation"] = self.valider(model)
                model.train()
                validation = f"validation {en_francais(perte, 3)} · "
            self.details = (
                f"perte {en_francais(float(logs['loss']), 3)} · {validation}"
                f"taux {en_scientifique(float(logs['learning_rate']))} · "
                f"époque {en_francais(float(logs['epoch']), 2)}"
            )
            self.barre.avancer(state.global_step, self.details)
            if self.fichier:
                self._ecrire(state, self.fichier)

    def _ecrire(self, state: Any, fichier: Path) -> None:
        """Où l'on en est, pour qui suit l'apprentissage depuis un autre processus."""
        avancement = {
            "pas": state.global_step,
            "total": self.total,
            "secondes_par_pas": self.duree_s / self.pas_faits,
            "releves": historique(state.log_history),
        }
        with ecriture_expliquee(fichier.parent):
            ecrire_signe(fichier, json.dumps(avancement))

    def finir(self) -> None:
        """Ferme la barre, si elle s'est ouverte."""
        if self.barre is not None:
            self.barre.finir()
