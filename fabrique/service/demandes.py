"""Ce que les clients peuvent demander, champ par champ : ce qu'on prend, ce qu'on ignore, ce qu'on refuse.

Trois règles, celles de l'API d'OpenAI : un champ inconnu est refusé par son nom ; un champ connu
qu'on ne sait pas honorer est refusé, sauf à sa valeur neutre ; un champ qui ne change pas la réponse
(``user``, ``metadata``, ``store``…) est reçu et ne sert à rien.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fabrique.modeles.formes import grammaire_json, verifier_schema
from fabrique.service.refus import Refus
from fabrique.service.repondeur import Decodage

#: Les champs de l'API qu'on ne sait pas honorer, et les valeurs qui ne demandent rien.
NEUTRES: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "web_search_options": (),
}
#: Graines permises : celles d'un entier signé de 64 bits, comme chez OpenAI.
GRAINES = {"ge": -(2**63), "lt": 2**63}


class Strict(BaseModel):
    """Un objet dont chaque champ est connu, et du type annoncé."""

    model_config = ConfigDict(extra="forbid", strict=True)


# ---------------------------------------------------------------- des textes

#: Textes d'une demande, au plus. Source : OpenAI, « API reference », « Create embeddings ».
TEXTES_MAX = 2048
_Texte = Annotated[str, Field(min_length=1)]


class DemandeDeTextes(Strict):
    """Un texte, ou plusieurs, à un modèle qui n'écrit pas : il en rend les vecteurs, ou les étiquettes."""

    model: str
    input: _Texte | Annotated[list[_Texte], Field(min_length=1, max_length=TEXTES_MAX)]
    user: str | None = None

    @property
    def textes(self) -> list[str]:
        """Les textes, même s'il n'y en a qu'un."""
        return [self.input] if isinstance(self.input, str) else self.input


# ---------------------------------------------------------------- converser


class Texte(Strict):
    """Un morceau de message ; seul le texte se lit."""

    type: Literal["text"]
    text: str


class Message(Strict):
    """Un message de la conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Texte]
    name: str | None = None
    # Ce que les clients renvoient d'une réponse reçue, et qui ne se relit pas.
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[Any], Field(max_length=0)] | None = None
    annotations: list[Any] | None = None
    fabrique: dict[str, Any] | None = None

    def en_message(self) -> dict[str, str]:
        """Le message tel que le gabarit le lit ; « developer » est le nouveau nom de « system »."""
        texte = self.content
        if not isinstance(texte, str):
            texte = "".join(morceau.text for morceau in texte)
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": texte}


class OptionsDeFlux(Strict):
    """Ce qu'on veut en plus, au fil de l'eau."""

    include_usage: bool = False
    include_obfuscation: bool = False


class FormatLibre(Strict):
    """Un texte, ou un objet JSON quelconque."""

    type: Literal["text", "json_object"]


class Schema(Strict):
    """Un schéma JSON ; « strict » n'y change rien : il est toujours suivi."""

    name: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
    description: str | None = None
    # « schema » est déjà une méthode de pydantic.
    demande: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class FormatSchema(Strict):
    """Un JSON qui suit un schéma."""

    type: Literal["json_schema"]
    json_schema: Schema


Format = Annotated[FormatLibre | FormatSchema, Field(discriminator="type")]


class Conversation(Strict):
    """Le corps de ``POST /v1/chat/completions``."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    stream: bool | None = False
    stream_options: OptionsDeFlux | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = 1.0
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = 1
    seed: Annotated[int, Field(**GRAINES)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    response_format: Format | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    # Reçus, sans effet.
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    # Refusés, sauf à leur valeur neutre.
    frequency_penalty: Any = None
    presence_penalty: Any = None
    logit_bias: Any = None
    tools: Any = None
    tool_choice: Any = None
    parallel_tool_calls: Any = None
    functions: Any = None
    function_call: Any = None
    modalities: Any = None
    audio: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    web_search_options: Any = None

    def verifier(self, lot: int) -> None:
        """Refuse ce que les types ne disent pas.

        Raises:
            Refus: un champ qu'on ne sait pas honorer, ou deux champs qui se contredisent.
        """
        for nom, neutres in NEUTRES.items():
            valeur = getattr(self, nom)
            if valeur is not None and valeur not in neutres:
                raise _refuser(nom, "ce serveur ne sait pas le faire", "unsupported_parameter")
        if self.max_tokens and self.max_completion_tokens:
            raise _refuser("max_tokens", "max_completion_tokens le remplace : donnez l’un des deux")
        if self.top_logprobs is not None and not self.logprobs:
            raise _refuser("top_logprobs", "il demande logprobs: true")
        if self.stream_options and not self.stream:
            raise _refuser("stream_options", "il demande stream: true")
        if (self.n or 1) > lot:
            raise _refuser("n", f"ce serveur écrit {lot} réponses à la fois, au plus")
        if not all(self.arrets):
            raise _refuser("stop", "un texte d’arrêt ne peut pas être vide")

    @property
    def arrets(self) -> tuple[str, ...]:
        """Les textes d'arrêt."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def grammaire(self) -> str:
        """Celle que demande ``response_format`` ; vide pour un texte libre."""
        if isinstance(self.response_format, FormatSchema):
            return grammaire_json(self.response_format.json_schema.demande)
        if self.response_format and self.response_format.type == "json_object":
            return grammaire_json({"type": "object"})
        return ""

    def verifier_le_schema(self) -> None:
        """Refuse un schéma dont un mot ne se suit pas.

        Raises:
            ErreurFabrique: elle nomme ce mot et sa place.
        """
        if isinstance(self.response_format, FormatSchema):
            verifier_schema(self.response_format.json_schema.demande)

    def decodages(self, jetons_max: int) -> list[Decodage]:
        """Comment écrire chacune des ``n`` réponses ; la graine avance d'un rang à l'autre.

        Args:
            jetons_max: la longueur que le service ne dépasse jamais.
        """
        demandes = self.max_completion_tokens or self.max_tokens or jetons_max
        return [
            Decodage(
                max_tokens=min(demandes, jetons_max),
                temperature=1.0 if self.temperature is None else self.temperature,
                top_p=self.top_p or 1.0,
                graine=None if self.seed is None else (self.seed + rang) % 2**63,
                arrets=self.arrets,
                candidats=(self.top_logprobs or 0) if self.logprobs else None,
                grammaire=self.grammaire,
            )
            for rang in range(self.n or 1)
        ]


def _refuser(champ: str, pourquoi: str, nom: str | None = None) -> Refus:
    return Refus(f"« {champ} » : {pourquoi}", champ=champ, nom=nom)


# ---------------------------------------------------------------- affiner

Automatique = Literal["auto"]


class Hyperparametres(Strict):
    """Les hyperparamètres de l'API ; « auto » laisse le service choisir."""

    n_epochs: Annotated[int, Field(ge=1, le=50)] | Automatique = "auto"
    batch_size: Annotated[int, Field(ge=1, le=256)] | Automatique = "auto"
    learning_rate_multiplier: (
        Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | Automatique
    ) = "auto"


class HyperparametresDpo(Hyperparametres):
    """Ceux des préférences : la retenue (``beta``) en plus."""

    beta: Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)] | Automatique = "auto"


class Supervise(Strict):
    """Les réglages de la méthode supervisée."""

    hyperparameters: Hyperparametres | None = None


class ParPreferences(Strict):
    """Les réglages de la méthode par préférences."""

    hyperparameters: HyperparametresDpo | None = None


#: Les méthodes de l'API qu'on sait mener.
SUPERVISEE, DPO = "supervised", "dpo"


class Methode(Strict):
    """Comment apprendre : sur des réponses données en exemple, ou sur des préférences."""

    type: str
    supervised: Supervise | None = None
    dpo: ParPreferences | None = None
    reinforcement: Any = None


class Affinage(Strict):
    """Le corps de ``POST /v1/fine_tuning/jobs``."""

    model: str
    training_file: str
    validation_file: str | None = None
    hyperparameters: Hyperparametres | None = None
    method: Methode | None = None
    suffix: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_-]*$")] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    metadata: dict[str, str] | None = None
    integrations: Any = None

    def verifier(self) -> None:
        """Refuse une méthode ou une intégration qu'on n'a pas.

        Raises:
            Refus: il nomme le champ.
        """
        if self.integrations:
            raise _refuser(
                "integrations", "ce serveur n’envoie rien ailleurs", "unsupported_parameter"
            )
        if self.method is None:
            return
        if self.method.type not in (SUPERVISEE, DPO):
            raise Refus(
                f"la méthode « {self.method.type} » ne s’apprend pas ici",
                f'Employez {{"type": "{SUPERVISEE}"}} ou {{"type": "{DPO}"}}',
                champ="method.type",
                nom="unsupported_parameter",
            )
        if self.hyperparameters is not None:
            raise _refuser("hyperparameters", "method le remplace : donnez l’un des deux")

    @property
    def par_preferences(self) -> bool:
        """Vrai quand le fichier porte des préférences."""
        return self.method is not None and self.method.type == DPO

    @property
    def choisis(self) -> Hyperparametres:
        """Les hyperparamètres, à l'ancienne place (2023) ou dans ``method``."""
        if self.par_preferences:
            dpo = self.method and self.method.dpo
            return (dpo and dpo.hyperparameters) or HyperparametresDpo()
        supervise = self.method.supervised if self.method else None
        return (
            (supervise and supervise.hyperparameters) or self.hyperparameters or Hyperparametres()
        )
