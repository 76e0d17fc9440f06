"""Lire un fichier GGUF, celui de llama.cpp et d'Ollama : ce qu'il contient, son tokenizer, ses poids.

Un GGUF est aussi une base : ses poids, souvent quantifiés, y sont rendus à leurs nombres par
transformers, puis comptés, car transformers laisse de côté sans le dire ceux qu'il ne connaît pas.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fabrique.socle.erreurs import MACHINE, ErreurFabrique

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

#: Où un GGUF range, s'il l'a, le tokenizer.json d'origine. Source : spécification de GGUF (ggml),
#: « tokenizer.huggingface.json ».
TOKENIZER_ENTIER = "tokenizer.huggingface.json"
#: Ce que les positions par rotation ont d'étiré, dans les fichiers de Llama 3.1 et suivants.
FREQUENCES = "rope_freqs.weight"
#: Le seul Gemma 2 dont l'échelle d'attention ne soit pas celle de ses têtes. Source : llama.cpp,
#: ``src/models/gemma2.cpp``.
COUCHES_DE_GEMMA_27B = 46
#: Les étirements publiés de Llama 3, que seul le plus grand facteur distingue. Source :
#: config.json de Llama-3.1 et Llama-3.2, « rope_scaling ».
ETIREMENT = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}

#: Les réseaux dont un GGUF se relit sans rien perdre : un aller et retour le vérifie.
RELUS = ("falcon", "llama", "mistral", "qwen2", "qwen3", "gemma2")


def paquet_gguf() -> ModuleType:
    """Le paquet ``gguf``, que l'extension ``[gguf]`` installe.

    Raises:
        ErreurFabrique: l'extension n'est pas installée.
    """
    try:
        import gguf
    except ImportError:
        raise ErreurFabrique(
            "lire ou écrire un fichier GGUF demande le paquet gguf",
            "Tapez « pip install 'fabrique[gguf]' »",
            code=MACHINE,
        ) from None
    return gguf


@dataclass(frozen=True)
class FichierGguf:
    """Un fichier GGUF ouvert : ses champs se lisent, ses poids restent sur le disque."""

    chemin: Path
    lecteur: GGUFReader

    @classmethod
    def ouvrir(cls, chemin: str | Path) -> FichierGguf:
        """Ouvre un fichier.

        Raises:
            ErreurFabrique: fichier absent, ou qui n'est pas un GGUF entier ; extension absente.
        """
        chemin = Path(chemin)
        if not chemin.is_file():
            raise ErreurFabrique("ce fichier n’existe pas", "Vérifiez son chemin", chemin)
        try:
            # « c » : copie à l’écriture, ce que torch demande d’un tableau qu’il lit.
            fichier = cls(chemin, paquet_gguf().GGUFReader(chemin, "c"))
            _ = fichier.architecture
        except (ValueError, IndexError, KeyError, UnicodeDecodeError, TypeError) as cause:
            raise ErreurFabrique(
                "ce n’est pas un fichier GGUF, ou il est incomplet",
                "Copiez-le ou téléchargez-le de nouveau",
                chemin,
            ) from cause
        return fichier

    def champ(self, cle: str, defaut: Any = None) -> Any:
        """La valeur d'un champ de l'en-tête ; ``{arch}`` y vaut le nom de l'architecture."""
        champ = self.lecteur.get_field(cle.replace("{arch}", self.architecture))
        return defaut if champ is None else champ.contents()

    @cached_property
    def architecture(self) -> str:
        """« falcon », « llama »… : le nom que llama.cpp lui donne."""
        return self.lecteur.fields["general.architecture"].contents()

    @property
    def contexte(self) -> int:
        """La fenêtre du modèle, en jetons."""
        return int(self.champ("{arch}.context_length"))

    @property
    def poids(self) -> int:
        """Combien de nombres portent ses tenseurs, étirement des positions non compris."""
        return sum(int(t.n_elements) for t in self.lecteur.tensors if t.name != FREQUENCES)

    @property
    def noms(self) -> list[str]:
        """Les noms de ses tenseurs."""
        return [tenseur.name for tenseur in self.lecteur.tensors]

    def tenseur(self, nom: str) -> np.ndarray:
        """Un tenseur rendu à ses nombres, en 32 bits."""
        [lu] = [t for t in self.lecteur.tensors if t.name == nom]
        return paquet_gguf().dequantize(lu.data, lu.tensor_type)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Le tokenizer : l'entier s'il est dans le fichier, sinon celui que transformers en tire."""
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        entier = self.champ(TOKENIZER_ENTIER)
        if entier is None:
            return AutoTokenizer.from_pretrained(self.chemin.parent, gguf_file=self.chemin.name)
        from tokenizers import Tokenizer

        moteur = Tokenizer.from_str(entier)
        roles = {
            f"{role}_token": moteur.id_to_token(numero)
            for role, cle in (
                ("bos", "bos"),
                ("eos", "eos"),
                ("pad", "padding"),
                ("unk", "unknown"),
            )
            if (numero := self.champ(f"tokenizer.ggml.{cle}_token_id")) is not None
        }
        speciaux = [a.content for a in moteur.get_added_tokens_decoder().values() if a.special]
        return PreTrainedTokenizerFast(
            tokenizer_object=moteur,
            extra_special_tokens=[s for s in speciaux if s not in roles.values()],
            chat_template=self.champ("tokenizer.chat_template"),
            **roles,
        )

    def configuration(self) -> PretrainedConfig:
        """La configuration que transformers tire de l'en-tête, et ce qu'il en oublie.

        Raises:
            ErreurFabrique: transformers ne sait pas lire cette architecture, ou pas entièrement.
        """
        from transformers import AutoConfig

        illisible = ErreurFabrique(
            f"transformers ne sait pas lire les GGUF d’architecture « {self.architecture} »",
            "Donnez le modèle d’origine, en safetensors",
            self.chemin,
        )
        try:
            config = AutoConfig.from_pretrained(self.chemin.parent, gguf_file=self.chemin.name)
        except (ValueError, KeyError, NotImplementedError) as cause:
            raise illisible from cause
        if config.model_type not in RELUS:
            raise illisible
        if self.architecture == "falcon":
            self._completer_falcon(config)
        if self.architecture == "qwen3":  # transformers n'y lit pas la largeur d'une tête
            config.head_dim = self.champ("{arch}.attention.key_length", config.head_dim)
        if self.architecture == "gemma2":  # ni, ici, l'échelle de l'attention
            par_tete = config.hidden_size // config.num_attention_heads
            de_27b = config.num_hidden_layers == COUCHES_DE_GEMMA_27B
            config.query_pre_attn_scalar = par_tete if de_27b else config.head_dim
        if FREQUENCES in self.noms:
            self._etirer_les_positions(config)
        return config

    def _completer_falcon(self, config: PretrainedConfig) -> None:
        """transformers n'y lit ni la largeur du réseau, ni les têtes, ni ε."""
        tetes = self.champ("{arch}.attention.head_count")
        cles = int(self.champ("{arch}.attention.head_count_kv", 1))
        config.ffn_hidden_size = self.champ("{arch}.feed_forward_length")
        config.layer_norm_epsilon = self.champ("{arch}.attention.layer_norm_epsilon")
        config.num_kv_heads, config.multi_query = cles, cles == 1
        if cles not in (1, tetes):
            raise ErreurFabrique(
                "ce Falcon groupe ses têtes (comme Falcon-40B) : transformers en lirait les poids "
                "dans le désordre",
                "Donnez le modèle d’origine, en safetensors",
                self.chemin,
            )

    def _etirer_les_positions(self, config: PretrainedConfig) -> None:
        """transformers ignore cet étirement : retrouvé parmi ceux qu'on publie, ou refusé."""
        import numpy as np
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        facteurs = self.tenseur(FREQUENCES)
        base = config.rope_parameters["rope_theta"]
        config.rope_parameters = ETIREMENT | {
            "rope_theta": base,
            "factor": float(facteurs.max()),
        }
        etirees, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
        droites = base ** -(np.arange(len(facteurs)) / len(facteurs))
        if not np.allclose(droites / facteurs, etirees.numpy(), rtol=1e-3):
            raise ErreurFabrique(
                f"ses positions sont étirées d’une façon que transformers ne lit pas ({FREQUENCES})",
                "Donnez le modèle d’origine, en safetensors",
                self.chemin,
            )
