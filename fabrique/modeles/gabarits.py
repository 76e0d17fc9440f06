"""Le gabarit de conversation : d'une instruction au texte envoyé au modèle.

Un modèle affiné ne répond bien qu'aux textes bâtis comme ceux de son apprentissage.
Ce module est le seul endroit où ils se bâtissent : réglage fin, génération et
évaluation l'emploient tous trois.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from fabrique.socle.erreurs import ErreurFabrique

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Les jetons spéciaux du Falcon de poche.
DEBUT, FIN, REMPLISSAGE = "<|debut|>", "<|fin|>", "<|remplissage|>"
SYSTEME, UTILISATEUR, ASSISTANT = "<|systeme|>", "<|utilisateur|>", "<|assistant|>"

#: Le gabarit du Falcon de poche : un jeton par rôle, la fin après chaque réponse.
GABARIT_POCHE = (
    DEBUT + "{% for m in messages %}"
    "{% if m.role == 'system' %}" + SYSTEME + "{% elif m.role == 'user' %}" + UTILISATEUR + ""
    "{% else %}" + ASSISTANT + "{% endif %}"
    "{{ m.content }}{% if m.role == 'assistant' %}" + FIN + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + ASSISTANT + "{% endif %}"
)

#: Le gabarit donné aux modèles qui n'en ont pas : celui d'Alpaca, en français.
#: Source : Taori et al., 2023 (Stanford Alpaca).
GABARIT_ALPACA = (
    "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content }}\n\n"
    "{% elif m.role == 'user' %}### Instruction :\n{{ m.content }}\n\n"
    "{% else %}### Réponse :\n{{ m.content }}{{ eos_token }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Réponse :\n{% endif %}"
)

#: Étiquette que la perte ignore (valeur de PyTorch et de transformers).
SANS_PERTE = -100


def en_messages(instruction: str, input: str = "", systeme: str = "") -> list[dict[str, str]]:
    """Une instruction et son contexte sous forme de conversation."""
    demande = f"{instruction}\n\n{input}" if input else instruction
    consigne = [{"role": "system", "content": systeme}] if systeme else []
    return [*consigne, {"role": "user", "content": demande}]


def neutraliser(texte: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Empêche un texte d'utilisateur de fabriquer des jetons spéciaux.

    « <|fin|> » écrit dans une question devient « < |fin|> » : les mêmes lettres, mais plus
    un ordre donné au modèle.
    """
    for special in tokenizer.all_special_tokens:
        texte = texte.replace(special, f"{special[0]} {special[1:]}")
    return texte


def texte_envoye(
    tokenizer: PreTrainedTokenizerBase, instruction: str, input: str = "", systeme: str = ""
) -> str:
    """Le texte exact envoyé au modèle, jusqu'à l'endroit où il doit répondre."""
    return composer(tokenizer, en_messages(instruction, input, systeme))


def texte_de_la_demande(tokenizer: PreTrainedTokenizerBase, exemple: dict) -> str:
    """Le texte envoyé au modèle pour qu'il écrive la dernière réponse d'un exemple."""
    return composer(tokenizer, _messages(exemple)[:-1])


def _messages(exemple: dict) -> list[dict[str, str]]:
    """Un exemple, instruction ou conversation, sous forme de messages, réponse comprise."""
    if "messages" in exemple:
        return exemple["messages"]
    champs = (exemple.get(champ) or "" for champ in ("instruction", "input", "systeme"))
    return [*en_messages(*champs), {"role": "assistant", "content": exemple.get("output") or ""}]


def composer(tokenizer: PreTrainedTokenizerBase, messages: Iterable[Mapping[str, str]]) -> str:
    """Les messages composés par le gabarit du modèle, suivis de l'appel à répondre."""
    neutres = [{**m, "content": neutraliser(m["content"], tokenizer)} for m in messages]
    return tokenizer.apply_chat_template(
        neutres,
        chat_template=tokenizer.chat_template or GABARIT_ALPACA,
        tokenize=False,
        add_generation_prompt=True,
    )


def coder(texte: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Les identifiants d'un texte, sans rien ajouter autour.

    Raises:
        ErreurFabrique: le texte contient un demi-caractère Unicode.
    """
    verifier_unicode(texte)
    return tokenizer(texte, add_special_tokens=False)["input_ids"]


def debut_de_suite(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ce qui ouvre une suite sans gabarit : le jeton de début, sinon celui de fin, sinon rien.

    Le tokenizer de Falcon-7B n'a pas de jeton de début : ses textes d'apprentissage n'étaient
    séparés que par le jeton de fin, qui annonce donc aussi un nouveau texte.
    """
    jeton = tokenizer.bos_token_id
    jeton = tokenizer.eos_token_id if jeton is None else jeton
    return [] if jeton is None else [jeton]


def verifier_unicode(texte: str) -> None:
    """Refuse un texte qu'UTF-8 ne sait pas écrire.

    Raises:
        ErreurFabrique: le texte contient un demi-caractère Unicode.
    """
    try:
        texte.encode()
    except UnicodeEncodeError:
        raise ErreurFabrique(
            "le texte contient un demi-caractère Unicode (U+D800 à U+DFFF), illisible",
            "Réenregistrez le fichier en UTF-8 depuis son logiciel d’origine",
        ) from None


def exemple_en_jetons(
    tokenizer: PreTrainedTokenizerBase, exemple: dict, cutoff_len: int | None = None
) -> dict[str, list[int]]:
    """Un exemple prêt pour l'apprentissage : les questions se lisent, les réponses s'apprennent.

    Les étiquettes des questions valent -100, si bien que la perte ne porte que sur les
    réponses et sur le jeton qui les finit. Une réponse de poids nul (``weight``, comme chez
    OpenAI) se lit aussi, sans s'apprendre. Un exemple trop long est coupé par ``couper``.

    Args:
        exemple: ``instruction``, ``input``, ``output`` (et ``systeme`` s'il y en a un), ou
            ``messages`` ; une réponse s'y écarte de la perte par ``"weight": 0``.
        cutoff_len: longueur maximale, en jetons ; None ne coupe rien.

    Returns:
        ``input_ids``, ``labels`` et ``attention_mask``, de même longueur.

    Raises:
        ErreurFabrique: le gabarit du modèle ne sait pas enchaîner plusieurs tours.
    """
    jetons: list[int] = []
    etiquettes: list[int] = []
    for lu, message in _tours(tokenizer, _messages(exemple)):
        question = coder(lu, tokenizer)
        reponse = coder(neutraliser(message["content"], tokenizer), tokenizer)
        reponse.append(tokenizer.eos_token_id)
        jetons += [*question, *reponse]
        apprise = message.get("weight") != 0
        etiquettes += [SANS_PERTE] * len(question)
        etiquettes += reponse if apprise else [SANS_PERTE] * len(reponse)
    code = {"input_ids": jetons, "labels": etiquettes, "attention_mask": [1] * len(jetons)}
    return couper(code, cutoff_len, tokenizer.eos_token_id) if cutoff_len else code


def couper(code: dict[str, list[int]], cutoff_len: int, fin: int) -> dict[str, list[int]]:
    """Un exemple ramené à ``cutoff_len`` jetons, coupé à droite ; intact s'il tient.

    Le jeton de fin ferme la suite, mais son étiquette vaut -100 : s'arrêter là où l'on a coupé,
    au milieu d'une phrase ou dans le tour de l'usager, ne s'apprend pas.

    Args:
        fin: l'identifiant du jeton de fin.
    """
    if len(code["input_ids"]) <= cutoff_len:
        return code
    garde = cutoff_len - 1
    return {
        "input_ids": [*code["input_ids"][:garde], fin],
        "labels": [*code["labels"][:garde], SANS_PERTE],
        "attention_mask": code["attention_mask"][:cutoff_len],
    }


def _tours(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Chaque message de l'assistant, précédé de ce que le modèle lit depuis le précédent."""
    deja = ""
    for rang, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        texte = composer(tokenizer, messages[:rang])
        if not texte.startswith(deja):
            raise ErreurFabrique(
                "le gabarit de ce modèle récrit les tours passés : il n’apprend qu’un tour à la fois",
                "Découpez vos conversations en exemples d’un tour",
            )
        yield texte[len(deja) :], message
        deja = texte + neutraliser(message["content"], tokenizer) + tokenizer.eos_token
