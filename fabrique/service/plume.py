"""Du jeton au texte : une plume écrit une réponse, et sait où elle s'arrête."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase

from fabrique.modeles.cloture import jetons_au_moins
from fabrique.modeles.contrainte import SelonGrammaire
from fabrique.service.repondeur import Jeton, Ligne, Morceau

#: Ce qu'un tokenizer rend d'un caractère dont tous les octets ne sont pas encore écrits.
INACHEVE = "\ufffd"


class Plume:
    """Choisit les jetons d'une réponse et en rend le texte, dès qu'il est sûr.

    N'est pas sûr un caractère inachevé, ni une fin de texte qui pourrait commencer un texte d'arrêt.

    Args:
        limite: longueur de la réponse, en jetons.
    """

    def __init__(self, ligne: Ligne, tokenizer: PreTrainedTokenizerBase, limite: int) -> None:
        self.ligne, self.tokenizer, self.limite = ligne, tokenizer, limite
        self.ids: list[int] = []
        self.finie = False
        self._dit = 0  # caractères déjà partis
        self._en_attente: list[Jeton] = []
        self._regle = self._regle_de(ligne.decodage.grammaire)
        self._hasard = torch.Generator()
        if ligne.decodage.graine is None:
            self._hasard.seed()
        else:
            self._hasard.manual_seed(ligne.decodage.graine)

    def _regle_de(self, grammaire: str) -> SelonGrammaire | None:
        """Ce qui fait suivre la grammaire, et finir à temps si la longueur demandée le permet."""
        if not grammaire:
            return None
        finit = jetons_au_moins(self.tokenizer, grammaire) <= self.limite
        limites = [self.limite] if finit else []
        return SelonGrammaire(self.tokenizer, [grammaire], 0, limites, self._apercevoir)

    # ------------------------------------------------------------ choisir

    def choisir(self, notes: torch.Tensor) -> int:
        """Le jeton suivant, selon les réglages de cette seule réponse.

        Args:
            notes: les notes du modèle (forme : vocabulaire).
        """
        reglages = self.ligne.decodage
        if self.finie:  # les autres réponses du lot continuent
            return 0
        permises = notes
        if self._regle:
            ecrits = torch.tensor([self.ids], dtype=torch.long)
            [permises] = self._regle(ecrits, notes.clone()[None])
        jeton = self._prendre(permises)
        if reglages.candidats is not None:
            self._en_attente.append(self._decrire(jeton, notes, reglages.candidats))
        return jeton

    def _prendre(self, notes: torch.Tensor) -> int:
        reglages = self.ligne.decodage
        if reglages.temperature == 0:
            return int(notes.argmax())
        chances = (notes / reglages.temperature).softmax(-1).cpu()
        return int(torch.multinomial(_noyau(chances, reglages.top_p), 1, generator=self._hasard))

    def _apercevoir(self, notes: torch.Tensor) -> torch.Tensor:
        """Le jeton qui sera pris (forme : 1), sans avancer le hasard."""
        etat = self._hasard.get_state()
        jeton = self._prendre(notes[0])
        self._hasard.set_state(etat)
        return torch.tensor([jeton])

    def _decrire(self, jeton: int, notes: torch.Tensor, candidats: int) -> Jeton:
        """Le jeton pris et ses concurrents, avec leurs log-probabilités avant tout réglage."""
        log_p = notes.log_softmax(-1)
        meilleurs = log_p.topk(candidats)
        concurrents = zip(meilleurs.indices.tolist(), meilleurs.values.tolist(), strict=True)
        return Jeton(
            self.tokenizer.decode([jeton]),
            log_p[jeton].item(),
            tuple((self.tokenizer.decode([i]), valeur) for i, valeur in concurrents),
        )

    # ------------------------------------------------------------ écrire

    def recevoir(self, jeton: int) -> bool:
        """Ajoute un jeton à la réponse ; vrai quand elle est finie."""
        if self.finie or self.ligne.interrompue():
            self.finie = True
        elif jeton == self.tokenizer.eos_token_id:
            self._en_attente = self._en_attente[:-1]
            self._partir(self._texte(), "stop")
        else:
            self.ids.append(jeton)
            self._avancer(self._texte())
        return self.finie

    def _texte(self) -> str:
        return self.tokenizer.decode(self.ids, skip_special_tokens=True)

    def _avancer(self, texte: str) -> None:
        trouves = [place for a in self.ligne.decodage.arrets if (place := texte.find(a)) >= 0]
        if trouves:
            self._partir(texte[: min(trouves)], "stop")
        elif len(self.ids) >= self.limite:
            self._partir(texte, "length")
        else:
            self._partir(_sur(texte, self.ligne.decodage.arrets))

    def _partir(self, texte: str, fin: str | None = None) -> None:
        """Envoie ce qui, dans ``texte``, ne l'est pas encore."""
        if fin or len(texte) > self._dit:
            jetons, self._en_attente = tuple(self._en_attente), []
            self.ligne.recevoir(Morceau(texte[self._dit :], jetons, fin, len(self.ids)))
            self._dit = max(self._dit, len(texte))
        self.finie = fin is not None


def _sur(texte: str, arrets: tuple[str, ...]) -> str:
    """Le début du texte que rien ne changera plus."""
    texte = texte.rstrip(INACHEVE)
    retenu = max(
        (n for arret in arrets for n in range(1, len(arret)) if texte.endswith(arret[:n])),
        default=0,
    )
    return texte[: len(texte) - retenu]


def _noyau(chances: torch.Tensor, part: float) -> torch.Tensor:
    """Les chances (forme : vocabulaire), à zéro hors des plus grandes qui font ensemble ``part``.

    Source : Holtzman et al., 2020 (arXiv:1904.09751), section 3.1.
    """
    if part >= 1:
        return chances
    triees, rangs = chances.sort(descending=True)
    hors = triees.cumsum(-1) - triees >= part  # la première reste toujours
    return chances.index_fill(0, rangs[hors], 0.0)
