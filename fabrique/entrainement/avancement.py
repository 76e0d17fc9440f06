"""L'avancement : la barre, les mesures, et la demande d'arrêt."""

from __future__ import annotations

import signal
import threading
import time

from transformers import TrainerCallback

from fabrique.suivi import Barre


class Arret:
    """Change Ctrl-C, le bouton d'arrêt du carnet et SIGTERM en une demande, le temps d'un bloc.

    Le pas en cours s'achève, puis se sauvegarde. Une seconde demande arrête tout de suite.
    """

    SIGNAUX = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.demande = False
        self.anciens: dict[int, object] = {}

    def __enter__(self) -> Arret:
        # Python ne laisse poser de gestionnaire que dans le fil principal.
        if threading.current_thread() is threading.main_thread():
            self.anciens = {s: signal.signal(s, self._recevoir) for s in self.SIGNAUX}
        return self

    def __exit__(self, *_) -> None:
        for numero, ancien in self.anciens.items():
            signal.signal(numero, ancien)

    def _recevoir(self, *_) -> None:
        if self.demande:
            raise KeyboardInterrupt
        self.demande = True


class Suivi(TrainerCallback):
    """Montre l'avancement : perte, taux d'apprentissage, époque, temps restant.

    Garde ce qui est mesuré d'un essai à l'autre, quand il faut recommencer avec moins de mémoire.
    """

    def __init__(self, total: int, arret: Arret) -> None:
        self.barre = Barre(total, "Apprentissage")
        self.arret, self.details = arret, ""
        self.premier_pas, self.pas_faits, self.duree_s, self.depart = None, 0, 0.0, 0.0

    def on_train_begin(self, args, state, control, **_) -> None:
        if self.premier_pas is None:
            self.depart, self.premier_pas = time.monotonic(), state.global_step
            if state.global_step:
                self.barre.finir()
                self.barre = Barre(self.barre.total, "Reprise", deja=state.global_step)

    def on_step_end(self, args, state, control, **_) -> None:
        self.pas_faits = state.global_step - self.premier_pas
        self.duree_s = time.monotonic() - self.depart
        self.barre.avancer(state.global_step, self.details)
        if self.arret.demande:
            control.should_save = control.should_training_stop = True

    def on_log(self, args, state, control, logs=None, **_) -> None:
        if logs and "loss" in logs:
            self.details = (
                f"perte {float(logs['loss']):.3f} · taux {float(logs['learning_rate']):.1e} · "
                f"époque {float(logs['epoch']):.2f}"
            ).replace(".", ",")
            self.barre.avancer(state.global_step, self.details)
