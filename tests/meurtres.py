"""Tuer un apprentissage à chaque instant délicat, et le relancer (lancé par test_interruption).

Un seul processus importe tout, puis se dédouble : l'enfant apprend et se fait tuer par -9.

    python tests/meurtres.py MODELE CORPUS REGLAGES_JSON DOSSIER
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

import fabrique
from fabrique.entrainement import EntraineurParLongueur, Suivi, entraineur, marche, reprise
from fabrique.entrainement.reprise import est_complet


def mourir(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def au_pas(pas):
    """Meurt à la fin d'un pas."""
    fin_de_pas = Suivi.on_step_end

    def tuer(self, args, state, control, **autres):
        fin_de_pas(self, args, state, control, **autres)
        if state.global_step == pas:
            mourir()

    Suivi.on_step_end = tuer


def entre_adaptateur_et_optimiseur(pas):
    """Meurt quand l'adaptateur du point est écrit, et rien d'autre."""
    continuer = EntraineurParLongueur._save_optimizer_and_scheduler

    def tuer(self, dossier):
        if self.state.global_step == pas:
            mourir()
        continuer(self, dossier)

    EntraineurParLongueur._save_optimizer_and_scheduler = tuer


def au_milieu_d_un_fichier(pas):
    """Meurt quand l'état de l'optimiseur n'est écrit qu'à moitié."""
    continuer = EntraineurParLongueur._save_optimizer_and_scheduler

    def tuer(self, dossier):
        continuer(self, dossier)
        if self.state.global_step == pas:
            fichier = Path(dossier) / "optimizer.pt"
            fichier.write_bytes(fichier.read_bytes()[: fichier.stat().st_size // 2])
            mourir()

    EntraineurParLongueur._save_optimizer_and_scheduler = tuer


def avant_de_renommer(pas):
    """Meurt quand le point est écrit et certifié, mais pas encore à sa place."""
    continuer = entraineur.mettre_en_place

    def tuer(ecrit, point):
        if point.name == f"checkpoint-{pas}":
            reprise.certifier(ecrit)
            mourir()
        continuer(ecrit, point)

    entraineur.mettre_en_place = tuer


def apres_avoir_renomme(pas):
    """Meurt quand le point est à sa place, et le dossier où il s'écrivait encore là."""
    continuer = entraineur.mettre_en_place

    def tuer(ecrit, point):
        continuer(ecrit, point)
        if point.name == f"checkpoint-{pas}":
            mourir()

    entraineur.mettre_en_place = tuer


def avant_de_retirer_les_anciens(pas):
    """Meurt quand le point est à sa place, l'ancien aussi."""
    continuer = entraineur.retirer_les_anciens
    entraineur.retirer_les_anciens = lambda s, p, g: mourir() if p == pas else continuer(s, p, g)


def en_retirant_un_ancien(pas):
    """Meurt quand l'ancien point n'est effacé qu'à moitié."""
    retirer = shutil.rmtree

    def tuer(dossier, *args, **options):
        if Path(dossier).name == reprise.A_JETER and Path(dossier).exists():
            next(Path(dossier).iterdir()).unlink()
            mourir()
        retirer(dossier, *args, **options)

    reprise.shutil.rmtree = tuer


def avant_le_rapport(_pas):
    """Meurt quand tout est appris, avant d'écrire que c'est fini."""
    marche.signer = mourir


#: Les morts, dans l'ordre : deux époques de six pas, un point tous les deux pas.
MORTS = (
    (au_pas, 1),
    (entre_adaptateur_et_optimiseur, 2),
    (au_pas, 3),
    (au_milieu_d_un_fichier, 4),
    (avant_de_renommer, 4),
    (avant_de_retirer_les_anciens, 6),
    (en_retirant_un_ancien, 8),
    (au_pas, 9),
    (au_milieu_d_un_fichier, 12),
    (apres_avoir_renomme, 12),
    (avant_le_rapport, 12),
)


def apprendre(sortie):
    modele, corpus, reglages = sys.argv[1:4]
    tokenizer, reseau = fabrique.charger(modele, silencieux=True)
    fabrique.entrainer(
        reseau,
        tokenizer,
        fabrique.lire_corpus(corpus),
        fabrique.Reglages(**json.loads(reglages)),
        sortie,
    )


def dedoubler(sortie, preparer=lambda: None):
    """Apprend dans un enfant ; rend son numéro."""
    enfant = os.fork()
    if enfant == 0:
        try:
            preparer()
            apprendre(sortie)
            os._exit(0)
        except BaseException as erreur:
            print(repr(erreur), file=sys.stderr, flush=True)
            os._exit(1)
    return enfant


def fin(enfant):
    return os.waitstatus_to_exitcode(os.waitpid(enfant, 0)[1])


def enchainer(sortie):
    """Toutes les morts l'une après l'autre, puis la fin ; rend ce qu'on a vu après chacune."""
    vus = []
    for mort, pas in MORTS:
        code = fin(dedoubler(sortie, lambda mort=mort, pas=pas: mort(pas)))
        complets = {int(p.name[11:]) for p in sortie.glob("checkpoint-*") if est_complet(p)}
        vus.append({"mort": mort.__name__, "code": code, "complets": sorted(complets)})
    return vus, fin(dedoubler(sortie))


def au_hasard(sortie, fois=6):
    """Tué de l'extérieur, n'importe quand, puis mené au bout."""
    hasard, codes = random.Random(0), []
    for _ in range(fois):
        enfant = dedoubler(sortie)
        time.sleep(hasard.uniform(0.05, 1.5))
        os.kill(enfant, signal.SIGKILL)
        codes.append(fin(enfant))
    return codes, fin(dedoubler(sortie))


def main():
    torch.set_num_threads(1)  # un dédoublement n'emporte pas les autres fils
    dossier = Path(sys.argv[4])
    assert fin(dedoubler(dossier / "reference")) == 0
    vus, fini = enchainer(dossier / "enchaine")
    codes, fini_au_hasard = au_hasard(dossier / "hasard")
    print(json.dumps({"vus": vus, "codes": codes, "fins": [fini, fini_au_hasard]}))


if __name__ == "__main__":
    main()
