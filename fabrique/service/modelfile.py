"""Le ``Modelfile`` d'Ollama, et le gabarit de conversation qu'il récrit dans sa langue.

Ollama ne lit pas les gabarits de transformers (Jinja) : il a les siens (Go). On retrouve, en
composant des conversations témoins, ce que le gabarit écrit autour de chaque message, et on vérifie
que le récrit compose les mêmes textes ; un gabarit qui fait davantage est refusé, et c'est dit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from fabrique.modeles.gabarits import GABARIT_ALPACA

#: Des contenus qu'aucun gabarit n'écrit.
CONSIGNE, QUESTION, REPONSE, RELANCE = "Témoin un", "Témoin deux", "Témoin trois", "Témoin quatre"
#: Les rôles, dans l'ordre où Ollama les essaie.
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Gabarit:
    """Ce qu'un gabarit de conversation écrit autour de chaque message.

    Args:
        debut: ce qui ouvre la conversation.
        autour: par rôle, ce qui précède et ce qui suit le contenu.
        appel: ce qui appelle la réponse.
    """

    debut: str
    autour: Mapping[str, tuple[str, str]]
    appel: str

    def composer(self, messages: Sequence[Mapping[str, str]]) -> str:
        """La conversation, telle qu'Ollama la composera."""
        tours = (m["content"].join(self.autour[m["role"]]) for m in messages)
        return self.debut + "".join(tours) + self.appel

    def en_go(self) -> str:
        """Le même, dans la langue d'Ollama. Source : documentation d'Ollama, « Template »."""
        branches = "".join(
            f'{{{{ {"else if" if rang else "if"} eq .Role "{role}" }}}}'
            f"{self.autour[role][0]}{{{{ .Content }}}}{self.autour[role][1]}"
            for rang, role in enumerate(role for role in ROLES if role in self.autour)
        )
        return (
            f"{self.debut}{{{{ range .Messages }}}}{branches}{{{{ end }}}}{{{{ end }}}}{self.appel}"
        )


def gabarit_de(tokenizer: PreTrainedTokenizerBase) -> Gabarit | None:
    """Le gabarit d'un tokenizer, retrouvé ; None s'il n'est pas de cette forme."""
    question, reponse, relance = _tour("user"), _tour("assistant", REPONSE), _tour("user", RELANCE)
    try:
        avant, fin = _rendre(tokenizer, [question]).split(QUESTION)
        entre, apres = _rendre(tokenizer, [question, reponse]).split(QUESTION)[1].split(REPONSE)
        suite = _rendre(tokenizer, [question, reponse, relance]).split(REPONSE)[1]
        ouvre = suite.split(RELANCE)[0].removeprefix(apres)
        debut = avant.removesuffix(ouvre)
        appel = _rendre(tokenizer, [question], appel=True).split(QUESTION)[1].removeprefix(fin)
        autour = {"user": (ouvre, fin), "assistant": (entre.removeprefix(fin), apres)}
    except (TemplateError, ValueError, IndexError):
        return None
    try:
        consigne = _tour("system", CONSIGNE)
        tete, milieu = _rendre(tokenizer, [consigne, question]).split(QUESTION)[0].split(CONSIGNE)
        autour["system"] = tete.removeprefix(debut), milieu.removesuffix(ouvre)
    except (TemplateError, ValueError):
        pass  # ce gabarit ne connaît pas de consigne
    gabarit = Gabarit(debut, autour, appel)
    return gabarit if _compose_de_meme(gabarit, tokenizer) else None


def en_modelfile(
    tokenizer: PreTrainedTokenizerBase, fichier: str, contexte: int
) -> tuple[str, bool]:
    """Le texte d'un ``Modelfile``, et s'il a pu y récrire le gabarit.

    Args:
        fichier: le nom du GGUF, à côté.
        contexte: la fenêtre du modèle, en jetons.

    Source : documentation d'Ollama, « Modelfile reference ».
    """
    gabarit = gabarit_de(tokenizer)
    lignes = [f"FROM ./{fichier}"]
    if gabarit and '"""' not in gabarit.en_go():
        lignes.append(f'TEMPLATE """{gabarit.en_go()}"""')
    else:
        gabarit = None
        lignes.append("# Le gabarit de ce modèle ne se récrit pas pour Ollama : écrivez TEMPLATE.")
    lignes += [f'PARAMETER stop "{_echapper(fin)}"' for fin in arrets(tokenizer, gabarit)]
    lignes += [
        f"PARAMETER num_ctx {contexte}",
        "# Ollama tire au sort et pénalise les redites si on ne le dit pas.",
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
    ]
    return "\n".join(lignes) + "\n", gabarit is not None


def arrets(tokenizer: PreTrainedTokenizerBase, gabarit: Gabarit | None) -> list[str]:
    """Ce qui arrête une réponse : le jeton de fin, et le début d'un nouveau tour de l'usager."""
    ouvre = gabarit.autour["user"][0].strip() if gabarit else ""
    return list(dict.fromkeys(filter(None, (tokenizer.eos_token, ouvre))))


def _tour(role: str, contenu: str = QUESTION) -> dict[str, str]:
    return {"role": role, "content": contenu}


def _rendre(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], appel: bool = False
) -> str:
    return tokenizer.apply_chat_template(
        messages,
        chat_template=tokenizer.chat_template or GABARIT_ALPACA,
        tokenize=False,
        add_generation_prompt=appel,
    )


def _compose_de_meme(gabarit: Gabarit, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Vrai si le gabarit récrit compose comme l'original des conversations de toutes les formes."""
    question, reponse = _tour("user", "Où voter ?"), _tour("assistant", "À la mairie.\n\nOu là.")
    formes = [[question], [question, reponse, question], [question, reponse] * 2 + [question]]
    if "system" in gabarit.autour:
        formes += [[_tour("system", "Soyez bref."), *forme] for forme in formes]
    return all(gabarit.composer(f) == _rendre(tokenizer, f, appel=True) for f in formes)


def _echapper(texte: str) -> str:
    return texte.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
