"""Répondre d'après un index : ce que le service cite voyage dans les ``annotations`` du message."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fabrique.machine.profil import merite_le_texte_libre
from fabrique.modeles.gabarits import en_messages
from fabrique.recherche.abstention import FAUSSES_REPONSES
from fabrique.recherche.index import Index
from fabrique.recherche.reponse import JETONS, Preparee, Reponse, preparer
from fabrique.service.demandes import Conversation
from fabrique.service.refus import Refus
from fabrique.service.repondeur import Decodage, Repondeur
from fabrique.socle.nombres import accorder

#: Les champs qui n'auraient pas de sens, et ce qui dit s'ils demandent quelque chose.
SANS_OBJET = {"stop": "arrets", "logprobs": "logprobs", "response_format": "grammaire"}


@dataclass(frozen=True)
class Sources:
    """D'après quoi répondre.

    Args:
        fausses_reponses, texte_libre: ceux de ``recherche.reponse.repondre``.
    """

    index: Index
    fausses_reponses: float = FAUSSES_REPONSES
    texte_libre: bool = False

    @classmethod
    def lire(cls, dossier: Path, modele: str) -> Sources:
        """Relit un index de ``fabrique sources indexer``, pour que ce modèle le cite.

        Raises:
            ErreurFabrique: ce n'est pas un index.
        """
        return cls(Index.lire(dossier), texte_libre=merite_le_texte_libre(modele))

    def preparer(self, question: str, moteur: Repondeur) -> Preparee:
        """Cherche, décide s'il faut répondre, et dit ce que le moteur pourra écrire."""

        def place(question: str, passages: str) -> int:
            with suppress(Refus):
                return moteur.place(moteur.lire(en_messages(question, passages)))
            return 0

        return preparer(
            question,
            self.index,
            fausses_reponses=self.fausses_reponses,
            texte_libre=self.texte_libre,
            place=place,
        )

    def presentation(self) -> str:
        """Ce que dit la commande avant de servir."""
        return f"Les réponses citent un index de {accorder(len(self.index), 'passage')}."


def verifier_pour_citer(corps: Conversation) -> None:
    """Refuse ce qu'une réponse sourcée ne peut pas honorer.

    Raises:
        Refus: il nomme le champ.
    """
    demandes = [nom for nom, dit in SANS_OBJET.items() if getattr(corps, dit)]
    if (corps.n or 1) > 1:
        demandes.append("n")
    if any(message.role in ("system", "developer") for message in corps.messages):
        demandes.append("messages")
    if demandes:
        raise Refus(
            f"« {demandes[0]} » : avec --index, la réponse est une citation ou une abstention",
            "Une consigne de système n’y changerait rien : retirez-la"
            if demandes[0] == "messages"
            else "Retirez-le",
            champ=demandes[0],
            nom="unsupported_parameter",
        )
    if corps.messages[-1].role != "user":
        raise Refus("le dernier message doit être une question (role: user)", champ="messages")


def decodage_pour_citer(corps: Conversation, decodage: Decodage, prete: Preparee) -> Decodage:
    """Sous la grammaire des passages ; sans température demandée, la réponse la plus probable."""
    dite = "temperature" in corps.model_fields_set and corps.temperature is not None
    return replace(
        decodage,
        grammaire=prete.grammaire,
        temperature=decodage.temperature if dite else 0.0,
        max_tokens=min(decodage.max_tokens, JETONS),
    )


def en_message(reponse: Reponse) -> dict[str, Any]:
    """Le texte, ses citations et ce qui les entoure.

    Une citation a la forme « url_citation » d'OpenAI, et en plus ce qu'il faut pour la retrouver ;
    ``fabrique`` dit pourquoi l'on s'abstient, et ce qui a été montré au modèle.
    """
    dit = reponse.contrat()
    citees = [c for c in reponse.controle.citations if c.rang is not None]
    return {
        "content": reponse.texte,
        "annotations": [
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": citee.debut,
                    "end_index": citee.fin,
                    "title": citation["titre"],
                    "url": citation["source"],
                    "texte": citation["texte"],
                    "fiche": citation["id"],
                    "page": citation["page"],
                    "date": citation["date"],
                },
            }
            for citee, citation in zip(citees, dit["citations"], strict=False)
        ],
        "fabrique": {
            "motif": dit["motif"],
            "abstention": dit["abstention"],
            "probabilite": dit["probabilite"],
            "sources": dit["sources"],
            "contradictions": dit["contradictions"],
        },
    }
