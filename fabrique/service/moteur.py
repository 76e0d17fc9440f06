"""Répondre avec llama.cpp : un fichier GGUF, un processeur, aucune carte (extension ``[gguf]``).

La question est découpée par le tokenizer de transformers et envoyée en identifiants : le modèle lit
exactement ce qu'il lirait dans ``generer``, même là où llama.cpp découperait autrement.
"""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fabrique.modeles.fichier_gguf import SANS_GGUF, FichierGguf
from fabrique.modeles.formes import pour_llama_cpp
from fabrique.modeles.gabarits import coder, composer
from fabrique.modeles.generation import place_dans
from fabrique.modeles.tokenizer import completer
from fabrique.socle.erreurs import MACHINE, ErreurFabrique

JSON = {"Content-Type": "application/json"}
#: Ce qui dit à llama.cpp qu'une grammaire est dans le langage de llguidance, et non dans le sien.
#: Source : llama.cpp, « docs/llguidance.md ».
LLGUIDANCE = "%llguidance {}\n"
#: Ce que ``au_fil`` reçoit ; rendre True arrête l'écriture.
AuFil = Callable[[str], bool | None]


@dataclass(frozen=True)
class Ecrit:
    """Ce que le moteur a écrit.

    Args:
        raison: « stop » (la fin, ou un texte d'arrêt), « length » (la limite), « annule ».
        jetons_lus: longueur de la question, gabarit compris.
        jetons: les identifiants écrits, sans celui de fin.
        probables: à chaque jeton, s'ils sont demandés, les plus probables et leur log-probabilité.
    """

    texte: str
    raison: str
    jetons_lus: int
    jetons: tuple[int, ...]
    probables: tuple[Mapping, ...] = ()


class Moteur:
    """Un modèle GGUF ouvert par llama.cpp ; il répond depuis autant de fils qu'il a de places."""

    def __init__(
        self,
        fichier: str | Path,
        fils: int | None = None,
        places: int = 1,
        contexte: int | None = None,
        exact: bool = False,
    ) -> None:
        """Ouvre un fichier.

        Args:
            fils: fils de calcul ; par défaut, ceux de torch.
            places: combien de réponses avancent ensemble.
            contexte: fenêtre plus courte que celle du modèle, en jetons ; la mémoire suit.
            exact: garde les clés et les valeurs en 32 bits et recalcule chaque question en
                entier ; plus lent, pour comparer.

        Raises:
            ErreurFabrique: extension absente, ou fichier que llama.cpp n'ouvre pas.
        """
        self.fichier = Path(fichier)
        xllamacpp = _xllamacpp()
        lu = FichierGguf.ouvrir(fichier)
        self.tokenizer = completer(lu.tokenizer())
        self.fenetre, self.exact = min(lu.contexte, contexte or lu.contexte), exact
        reglages = xllamacpp.CommonParams()
        reglages.model.path = str(self.fichier)
        reglages.model_alias = {self.fichier.stem}
        reglages.n_parallel, reglages.n_ctx = places, places * self.fenetre
        fils = fils or torch.get_num_threads()
        reglages.cpuparams.n_threads = reglages.cpuparams_batch.n_threads = fils
        reglages.verbosity, reglages.warmup, reglages.ui = -1, False, False
        # La fenêtre est celle du modèle : qu'elle ne tienne pas en mémoire doit se dire.
        reglages.fit_params = False
        if exact:
            reglages.cache_type_k = reglages.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            reglages.flash_attn_type = (
                xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
            )
        try:
            self._serveur = xllamacpp.Server(reglages)
        except Exception as cause:  # la bibliothèque ne lève que des RuntimeError sans détail
            raise ErreurFabrique(
                f"llama.cpp n’ouvre pas ce fichier ({str(cause)[:120]})",
                "Exportez-le de nouveau, ou vérifiez que la mémoire y suffit",
                self.fichier,
                code=MACHINE,
            ) from cause

    @staticmethod
    def disponible() -> bool:
        """Vrai si l'extension ``[gguf]`` est installée."""
        return all(map(importlib.util.find_spec, ("gguf", "xllamacpp")))

    @property
    def adresse(self) -> str:
        """Où le serveur de llama.cpp répond lui-même, sur cette machine seulement."""
        return self._serveur.listening_address

    def repondre(self, messages: Sequence[Mapping[str, str]], **reglages: Any) -> Ecrit:
        """Répond à une conversation, composée par le gabarit du modèle.

        Args:
            messages: les tours, chacun avec ``role`` et ``content``.
            reglages: ceux de ``continuer``.

        Raises:
            ErreurFabrique: question plus longue que la fenêtre du modèle, ou réglage refusé.
        """
        return self.continuer(coder(composer(self.tokenizer, messages), self.tokenizer), **reglages)

    def continuer(
        self,
        ids: Sequence[int],
        *,
        max_new_tokens: int = 220,
        temperature: float = 0.0,
        graine: int | None = None,
        fins: Sequence[str] = (),
        top_p: float = 1.0,
        probabilites: int = 0,
        grammaire: str = "",
        impose: int | None = None,
        au_fil: AuFil | None = None,
    ) -> Ecrit:
        """Continue une suite de jetons.

        Args:
            max_new_tokens: longueur maximale de la suite, en jetons.
            temperature: 0 prend toujours le jeton le plus probable ; plus haut, on tire parmi tous.
            graine: rend un tirage reproductible.
            fins: textes qui arrêtent l'écriture, et n'y figurent pas.
            top_p: ne tire que parmi les jetons les plus probables qui font ensemble cette part.
            probabilites: combien de jetons probables rendre à chaque pas.
            grammaire: ce que la réponse peut être, dans le langage de Lark ; vide, tout.
            impose: le jeton à écrire, quelles que soient les probabilités, qui restent celles du modèle.
            au_fil: reçoit les mots à mesure ; rendre True arrête.

        Raises:
            ErreurFabrique: suite plus longue que la fenêtre du modèle, ou réglage refusé.
        """
        place = place_dans(self.fenetre, len(ids))
        demande = {
            "prompt": list(ids),
            "n_predict": min(max_new_tokens, place),
            "temperature": temperature,
            # Aucune règle que l'on n'ait demandée : llama.cpp en applique six par défaut.
            "samplers": ["temperature", "top_p"],
            "top_p": top_p,
            "seed": -1 if graine is None else graine,
            "stop": list(fins),
            "n_probs": max(1, probabilites),  # les identifiants écrits en viennent
            "cache_prompt": not self.exact,
            **({"logit_bias": [[impose, 1e4]]} if impose is not None else {}),
            "stream": True,
            **({"grammar": f"{LLGUIDANCE}{pour_llama_cpp(grammaire)}"} if grammaire else {}),
        }
        morceaux, pas, raisons, refus = [], [], [], []

        def recevoir(recu: dict) -> bool:
            if "error" in recu:
                refus.append(recu["error"])
                return True
            (choix,) = recu["choices"]
            morceaux.append(choix["text"])
            pas.extend((choix["logprobs"] or {}).get("content", []))
            raisons.append(choix["finish_reason"])
            return bool(au_fil and choix["text"] and au_fil(choix["text"]))

        if au_fil:
            self._serveur.handle_completions(demande, recevoir)
        else:  # d'un seul tenant : au fil de l'eau, un caractère inachevé n'est jamais envoyé
            recevoir(self._serveur.handle_completions(demande | {"stream": False}))
        if refus:
            raise ErreurFabrique(
                f"llama.cpp refuse la demande ({str(refus[0].get('message'))[:120]})",
                "Vérifiez les réglages de la demande",
            )
        return Ecrit(
            "".join(morceaux),
            next(filter(None, reversed(raisons)), "annule"),
            len(ids),
            tuple(un["id"] for un in pas),
            tuple(pas) if probabilites else (),
        )

    def log_probabilites(self, ids: Sequence[int], entrees: int) -> torch.Tensor:
        """La log-probabilité de chaque jeton après une suite (forme : vocabulaire).

        Args:
            entrees: taille du vocabulaire.
        """
        # llama.cpp ne rend rien d'une réponse finie d'emblée, ni d'un caractère inachevé : on impose
        # donc un jeton ordinaire, et ses probabilités restent celles du modèle.
        ordinaire = coder("a", self.tokenizer)[-1]
        ecrit = self.continuer(ids, max_new_tokens=1, probabilites=entrees, impose=ordinaire)
        rendues = torch.full((entrees,), -torch.inf)
        for jeton in ecrit.probables[0]["top_logprobs"]:
            rendues[jeton["id"]] = jeton["logprob"]
        return rendues

    def decouper(self, textes: Sequence[str]) -> list[list[int]]:
        """Les jetons de chaque texte, découpé par llama.cpp lui-même."""
        # L'adresse est celle de cette machine : aucun mandataire.
        lien = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        adresse = f"{self.adresse}/tokenize"

        def demander(texte: str) -> list[int]:
            corps = json.dumps({"content": texte, "add_special": False, "parse_special": False})
            with lien.open(urllib.request.Request(adresse, corps.encode(), JSON)) as recu:
                return json.load(recu)["tokens"]

        return [demander(texte) for texte in textes]

    def fermer(self) -> None:
        """Rend la mémoire."""
        self._serveur = None

    def __enter__(self) -> Moteur:
        return self

    def __exit__(self, *_: object) -> None:
        self.fermer()


def _xllamacpp() -> Any:
    try:
        import xllamacpp
    except ImportError:
        raise ErreurFabrique(
            "le moteur de llama.cpp n’est pas installé", SANS_GGUF, code=MACHINE
        ) from None
    return xllamacpp
