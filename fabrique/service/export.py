"""Exporter un modèle, fusionné ou non, dans un fichier GGUF : celui de llama.cpp et d'Ollama.

Rien n'est donné pour bon sans avoir été relu : les poids, comparés un à un à ceux du modèle ; le
découpage, sur plus de quatre cents textes ; et, quand le moteur de llama.cpp est installé (extension
``[gguf]``), ses propres jetons et ses propres probabilités.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique import __version__
from fabrique.corpus.formats import JUMELLE
from fabrique.machine.materiel import memoire_disponible
from fabrique.modeles.adaptateurs import verifier_adaptateur
from fabrique.modeles.catalogue import nom_public, trouver
from fabrique.modeles.chargement import charger, squelette
from fabrique.modeles.fichier_gguf import FichierGguf, paquet_gguf
from fabrique.modeles.gabarits import coder, texte_envoye
from fabrique.modeles.origine import lire_origine
from fabrique.service import architectures, vocabulaire
from fabrique.service.architectures import architecture_de, tenseurs
from fabrique.service.fusion import DEMANDES, fusionner, logits_des_demandes
from fabrique.service.modelfile import en_modelfile
from fabrique.service.moteur import Moteur
from fabrique.service.vocabulaire import Vocabulaire, decouper, en_vocabulaire, textes_d_epreuve
from fabrique.socle.emplacements import ecrire_signe, mettre_en_place, verifier_sortie
from fabrique.socle.erreurs import MACHINE, ErreurFabrique
from fabrique.socle.nombres import accorder, en_bref, en_francais, en_go, en_mo

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, LlamaFileType

gguf = paquet_gguf()


@dataclass(frozen=True)
class Type:
    """Une façon de ranger les matrices dans un GGUF.

    Args:
        fichier: son numéro dans l'en-tête.
        matrices: celui des matrices ; les vecteurs restent en 32 bits.
        arrondi: erreur relative permise sur une matrice relue.
        ecart: plus grand écart permis entre les log-probabilités de llama.cpp et les nôtres, en
            nats ; None quand l'arrondi n'en permet aucune garantie.
    """

    fichier: LlamaFileType
    matrices: GGMLQuantizationType
    arrondi: float
    ecart: float | None = None


#: Les types que le paquet ``gguf`` sait écrire. L'écart permis en 16 bits est celui du projet :
#: 1e-2, sur des log-probabilités qui vont de −20 à 0 ; on en relève la moitié.
TYPES = {
    "f32": Type(gguf.LlamaFileType.ALL_F32, gguf.GGMLQuantizationType.F32, 0.0, 1e-2),
    "f16": Type(gguf.LlamaFileType.MOSTLY_F16, gguf.GGMLQuantizationType.F16, 1e-3, 1e-2),
    "bf16": Type(gguf.LlamaFileType.MOSTLY_BF16, gguf.GGMLQuantizationType.BF16, 1e-2, 5e-2),
    "q8_0": Type(gguf.LlamaFileType.MOSTLY_Q8_0, gguf.GGMLQuantizationType.Q8_0, 2e-2),
    "q5_1": Type(gguf.LlamaFileType.MOSTLY_Q5_1, gguf.GGMLQuantizationType.Q5_1, 0.1),
    "q5_0": Type(gguf.LlamaFileType.MOSTLY_Q5_0, gguf.GGMLQuantizationType.Q5_0, 0.1),
    "q4_1": Type(gguf.LlamaFileType.MOSTLY_Q4_1, gguf.GGMLQuantizationType.Q4_1, 0.2),
    "q4_0": Type(gguf.LlamaFileType.MOSTLY_Q4_0, gguf.GGMLQuantizationType.Q4_0, 0.2),
}
#: Les plongements et la tête pèsent sur chaque jeton : en 4 ou 5 bits, ils restent en 8.
GARDES, EN_8_BITS = ("token_embd.weight", "output.weight"), gguf.GGMLQuantizationType.Q8_0
EN_16_OU_32_BITS = tuple(TYPES[nom].matrices for nom in ("f32", "f16", "bf16"))
#: Les types à super-blocs de 256 poids, que le paquet ``gguf`` lit sans savoir les écrire.
TYPES_K, BLOC_K = re.compile(r"(q[2-8]_k(_[sml])?|iq\d.*|tq\d.*)"), 256
#: Assez pour les demandes qui vérifient un fichier, sans payer la mémoire de toute la fenêtre.
FENETRE = 256
#: En dessous, la probabilité d'un jeton se perd dans l'arrondi de l'exponentielle, en nats.
PLANCHER = -60.0
#: Au-delà, ce n'est plus un arrondi : les deux modèles ne sont pas le même. Deux suites sans lien
#: font 1,41.
ECART_RELATIF = 0.7


@dataclass(frozen=True)
class Export:
    """Ce qui a été écrit, et ce qui en a été vérifié.

    Args:
        fichier: le GGUF ; ``Modelfile`` et ``README.md`` sont à côté.
        vocabulaire: pré-découpage et fusions retenus.
        textes: combien de textes ont été découpés des deux façons.
        differents: ceux que llama.cpp coupe autrement.
        en_16_bits: les matrices qu'il a fallu laisser en 16 bits.
        ecart: plus grand écart des log-probabilités, en nats ; None sans moteur.
        gabarit: vrai si le gabarit de conversation a pu être récrit pour Ollama.
    """

    fichier: Path
    type: str
    octets: int
    vocabulaire: Vocabulaire
    textes: int
    differents: tuple[str, ...]
    en_16_bits: tuple[str, ...]
    ecart: float | None
    gabarit: bool

    def constats(self) -> list[str]:
        """Ce qui a été vérifié, et ce qui ne l'a pas été, une phrase chacun."""
        moteur = self.ecart is not None
        pareils = f"{self.textes - len(self.differents)} textes sur {self.textes}"
        qui = "llama.cpp" if moteur else "D’après ses règles, llama.cpp"
        dits = [
            "Poids relus, et comparés un à un à ceux du modèle.",
            f"{qui} découpe {pareils} comme transformers"
            + (f" (pré-découpage « {self.vocabulaire.pre} »)." if self.vocabulaire.pre else "."),
        ]
        if self.vocabulaire.modele == "llama" and not moteur:
            dits[1] = "Découpage non vérifié : le moteur de llama.cpp n’est pas installé."
        if self.ecart is not None:
            dits.append(
                f"Log-probabilités de llama.cpp : au plus {en_bref(self.ecart, 2)} nat d’écart."
            )
        else:
            dits.append(
                "Réponses non vérifiées : le moteur de llama.cpp n’est pas installé "
                "(« pip install 'fabrique[gguf]' »)."
            )
        if self.en_16_bits:
            dits.append(
                f"{accorder(len(self.en_16_bits), 'matrice laissée', 'matrices laissées')} en 16 bits, faute d’une largeur "
                f"multiple de 32 : {', '.join(self.en_16_bits[:3])}."
            )
        if not self.gabarit:
            dits.append(
                "Gabarit de conversation impossible à récrire pour Ollama : voir Modelfile."
            )
        return dits

    def __str__(self) -> str:
        return "\n".join([f"{self.fichier} : {en_mo(self.octets)}.", *self.constats()])


def exporter_gguf(
    modele: str | Path,
    sortie: str | Path,
    type: str = "q8_0",
    adaptateur: str | Path | None = None,
    revision: str | None = None,
    calcul: str = "float32",
) -> Export:
    """Écrit un modèle en GGUF, avec son ``Modelfile`` et sa notice, et vérifie ce qui est écrit.

    Args:
        modele: la base, en 16 ou 32 bits : nom du catalogue, dossier, ou identifiant du hub.
        sortie: dossier où écrire ; ce que nous n'y avons pas signé n'est pas touché.
        type: ``"f16"``, ``"q8_0"``, ``"q4_0"``… (``TYPES``).
        adaptateur: dossier d'un adaptateur à fusionner d'abord.
        revision: empreinte du hub, obligatoire hors du catalogue.
        calcul: ``"float32"``, ou ``"float16"`` : deux fois moins de mémoire.

    Raises:
        ErreurFabrique: type, architecture ou tokenizer que le format ne prend pas, fichier qui
            n'est pas à nous, mémoire ou disque trop petits (tous avant de charger les poids), ou
            fichier relu qui n'est pas le modèle ; rien n'est alors laissé.

    Source : spécification de GGUF (ggml-org/ggml, ``docs/gguf.md``).
    """
    sortie = Path(sortie)
    fichier = sortie / f"{_nom(modele, adaptateur)}-{type}.gguf"
    _verifier_avant(modele, adaptateur, revision, type, fichier, calcul)
    sortie.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=".fabrique-", dir=sortie, ignore_cleanup_errors=True
    ) as a_cote:
        tokenizer, reseau = _charger_fusionne(modele, adaptateur, revision, calcul, Path(a_cote))
        textes = textes_d_epreuve()
        mots = en_vocabulaire(tokenizer, reseau.get_input_embeddings().num_embeddings, textes)
        partiel = Path(a_cote) / fichier.name
        _ecrire(partiel, reseau, tokenizer, mots, TYPES[type])
        en_16_bits = _relire(partiel, reseau, TYPES[type])
        differents, ecart = _mettre_a_l_epreuve(
            partiel, reseau, tokenizer, mots, textes, TYPES[type]
        )
        octets = partiel.stat().st_size
        mettre_en_place(partiel, fichier)
    fenetre = architectures.contexte(reseau.config)
    consignes, gabarit = en_modelfile(tokenizer, fichier.name, fenetre)
    fait = Export(fichier, type, octets, mots, len(textes), differents, en_16_bits, ecart, gabarit)
    ecrire_signe(sortie / "Modelfile", consignes)
    ecrire_signe(sortie / "README.md", notice(fait, modele, adaptateur))
    return fait


# ---------------------------------------------------------------- avant de commencer


def _nom(modele: str | Path, adaptateur: str | Path | None) -> str:
    """Le nom du fichier : celui de la base, suivi de celui de l'adaptateur."""
    base = nom_public(trouver(modele, revision="").depot).rpartition("/")[2]
    noms = [base.removesuffix(".gguf"), Path(adaptateur).resolve().name if adaptateur else ""]
    return re.sub(r"[^\w.-]+", "-", "-".join(filter(None, noms))) or "modele"


def _verifier_avant(
    modele: str | Path,
    adaptateur: str | Path | None,
    revision: str | None,
    type: str,
    fichier: Path,
    calcul: str,
) -> None:
    """Tout ce qui se refuse sans avoir chargé un seul poids."""
    if type not in TYPES and not TYPES_K.fullmatch(type):
        raise ErreurFabrique(
            f"le type « {type} » n’existe pas", f"Choisissez entre {', '.join(TYPES)}"
        )
    if fichier.parent.exists() and not fichier.parent.is_dir():
        raise ErreurFabrique(
            "la sortie est un fichier", "Donnez le nom d’un dossier", fichier.parent
        )
    for ecrit in (fichier, fichier.parent / "Modelfile", fichier.parent / "README.md"):
        verifier_sortie(ecrit, *([modele] if modele else []))
    if adaptateur:
        verifier_adaptateur(adaptateur)
    vide = squelette(modele, revision)
    architecture_de(vide.config)
    if type not in TYPES:
        raise _refus_des_super_blocs(type, vide)
    _verifier_la_memoire(vide, calcul)
    _verifier_le_disque(vide, TYPES[type], fichier.parent, fusion=bool(adaptateur))


def _refus_des_super_blocs(type: str, vide: PreTrainedModel) -> ErreurFabrique:
    """Les « K-quants » rangent les poids par 256 : rarement possible, et jamais écrit d'ici."""
    matrices = {nom: poids for nom, poids in vide.named_parameters() if poids.ndim == 2}
    genantes = {nom: p.shape[1] for nom, p in matrices.items() if p.shape[1] % BLOC_K}
    if genantes:
        nom, largeur = next(iter(genantes.items()))
        return ErreurFabrique(
            f"« {type} » range les poids par {BLOC_K}, et {accorder(len(genantes), 'matrice')} de ce modèle "
            f"sans largeur qui s’y divise ({nom} : {largeur})",
            "Choisissez entre q8_0, q5_1, q5_0, q4_1 et q4_0, qui les rangent par 32",
        )
    return ErreurFabrique(
        f"« {type} » se lit, mais ne s’écrit qu’avec les outils de llama.cpp",
        f"Exportez en f16, puis tapez « llama-quantize MODELE-f16.gguf MODELE.gguf {type.upper()} »",
    )


def _verifier_la_memoire(vide: PreTrainedModel, calcul: str) -> None:
    """Le modèle se lit en entier : mieux vaut le refuser que le laisser tuer par le système."""
    octets = 4 if calcul == "float32" else 2
    besoin, libre = octets * sum(p.numel() for p in vide.parameters()), memoire_disponible()
    if libre < besoin:
        raise ErreurFabrique(
            f"il reste {en_go(libre)} en mémoire, l’export en demande {en_go(besoin)}",
            "Fermez d’autres programmes, exportez avec --calcul float16 (deux fois moins), ou sur une "
            "machine plus grande",
            code=MACHINE,
        )


def _verifier_le_disque(vide: PreTrainedModel, genre: Type, sortie: Path, fusion: bool) -> None:
    bloc, octets = gguf.GGML_QUANT_SIZES[genre.matrices]
    poids = sum(p.numel() for p in vide.parameters())
    plongements = vide.get_input_embeddings().weight.numel()
    besoin = poids * octets / bloc + 2 * plongements + (2 * poids if fusion else 0)
    existant = next(lieu for lieu in (sortie, *sortie.absolute().parents) if lieu.exists())
    libre = shutil.disk_usage(existant).free
    if libre < besoin:
        fusionne = ", modèle fusionné compris" if fusion else ""
        raise ErreurFabrique(
            f"il reste {en_go(libre)} sur le disque, l’export en demande {en_go(besoin)}{fusionne}",
            "Libérez de la place, ou changez de dossier de sortie",
            sortie,
            code=MACHINE,
        )


# ---------------------------------------------------------------- écrire


def _charger_fusionne(
    modele: str | Path,
    adaptateur: str | Path | None,
    revision: str | None,
    calcul: str,
    a_cote: Path,
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Le modèle à écrire : la base, ou la base et son adaptateur fusionnés et vérifiés."""
    if not adaptateur:
        return charger(modele, "aucune", calcul, revision, silencieux=True)
    fusionner(modele, adaptateur, a_cote / "fusion", revision, calcul)
    fusionne = charger(a_cote / "fusion", "aucune", calcul, silencieux=True)
    shutil.rmtree(a_cote / "fusion", ignore_errors=True)  # sa place sert au GGUF
    return fusionne


def _ecrire(
    chemin: Path,
    reseau: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    mots: Vocabulaire,
    genre: Type,
) -> None:
    """L'en-tête, puis chaque tenseur, un seul à la fois en mémoire."""
    architecture = architecture_de(reseau.config)
    fichier = gguf.GGUFWriter(chemin, architecture.nom)
    # Jamais « mistral » tout court : transformers chercherait une architecture de ce nom.
    fichier.add_name(chemin.stem)
    fichier.add_description(f"Écrit par FabriqueLLM {__version__}")
    fichier.add_file_type(genre.fichier)
    fichier.add_quantization_version(gguf.GGML_QUANT_VERSION)
    architectures.decrire(fichier, reseau.config, architecture)
    vocabulaire.inscrire(mots, tokenizer, fichier)
    for nom, nombres in tenseurs(reseau, architecture):
        rangement = _rangement(nom, nombres, genre)
        forme = gguf.quant_shape_to_byte_shape(nombres.shape, rangement)
        fichier.add_tensor_info(
            nom, forme, np.dtype(np.uint8), math.prod(forme), raw_dtype=rangement
        )
    fichier.write_header_to_file()
    fichier.write_kv_data_to_file()
    fichier.write_ti_data_to_file()
    with np.errstate(over="ignore"):  # un poids trop grand pour 16 bits se voit à la relecture
        for nom, nombres in tenseurs(reseau, architecture):
            rangement = _rangement(nom, nombres, genre)
            fichier.write_tensor_data(gguf.quantize(np.ascontiguousarray(nombres), rangement))
    fichier.close()


def _rangement(nom: str, nombres: np.ndarray, genre: Type) -> GGMLQuantizationType:
    """Les vecteurs en 32 bits ; les matrices au type demandé, ou à défaut en 16 bits."""
    if nombres.ndim == 1:
        return gguf.GGMLQuantizationType.F32
    fin = genre.matrices not in (*EN_16_OU_32_BITS, EN_8_BITS)
    rangement = EN_8_BITS if nom in GARDES and fin else genre.matrices
    bloc, _ = gguf.GGML_QUANT_SIZES[rangement]
    return gguf.GGMLQuantizationType.F16 if nombres.shape[-1] % bloc else rangement


# ---------------------------------------------------------------- relire


def _relire(chemin: Path, reseau: PreTrainedModel, genre: Type) -> tuple[str, ...]:
    """Compare chaque tenseur relu à celui du modèle ; rend les matrices laissées en 16 bits."""
    lu, en_16_bits = FichierGguf.ouvrir(chemin), []
    permis = {type.matrices: type.arrondi for type in TYPES.values()}
    for nom, attendu in tenseurs(reseau, architecture_de(reseau.config)):
        rangement = _rangement(nom, attendu, genre)
        ecart = np.linalg.norm(lu.tenseur(nom) - attendu)
        # Un seul poids infini, ou qui n'est pas un nombre, et la comparaison est fausse.
        if not ecart <= permis[rangement] * np.linalg.norm(attendu):
            raise ErreurFabrique(
                f"le tenseur « {nom} », relu, n’est pas celui du modèle",
                "Vérifiez le disque ; si ses poids dépassent 65 504, exportez en bf16",
                chemin.name,
                code=MACHINE,
            )
        if attendu.ndim > 1 and rangement == gguf.GGMLQuantizationType.F16 != genre.matrices:
            en_16_bits.append(nom)
    return tuple(en_16_bits)


def _mettre_a_l_epreuve(
    chemin: Path,
    reseau: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    mots: Vocabulaire,
    textes: Sequence[str],
    genre: Type,
) -> tuple[tuple[str, ...], float | None]:
    """Les textes coupés autrement, et l'écart des probabilités ; sans moteur, ce qu'on en sait."""
    reference = tokenizer.backend_tokenizer
    attendus, obtenus, ecart = decouper(reference, textes), None, None
    if Moteur.disponible():
        with Moteur(chemin, contexte=FENETRE, exact=True) as moteur:
            obtenus = moteur.decouper(textes)
            ecart = _comparer(moteur, reseau, tokenizer, genre)
    elif mots.pre:
        obtenus = decouper(vocabulaire.simuler(mots, reference), textes)
    paires = zip(textes, attendus, obtenus or attendus, strict=True)
    return tuple(texte for texte, attendu, obtenu in paires if attendu != obtenu), ecart


def _comparer(
    moteur: Moteur, reseau: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, genre: Type
) -> float:
    """Le plus grand écart des log-probabilités du jeton suivant, entre llama.cpp et transformers.

    Raises:
        ErreurFabrique: les deux ne sont pas le même modèle.
    """
    plus_grand = 0.0
    for demande, logits in zip(DEMANDES, logits_des_demandes(reseau, tokenizer), strict=True):
        attendues = logits[0, -1].log_softmax(-1)
        ids = coder(texte_envoye(tokenizer, demande), tokenizer)
        obtenues = moteur.log_probabilites(ids, len(attendues))
        lisibles = obtenues > PLANCHER
        ecarts = (obtenues - attendues)[lisibles]
        relatif = ecarts.norm() / (attendues - attendues.mean())[lisibles].norm()
        plus_grand = max(plus_grand, float(ecarts.abs().max()))
        if not relatif < ECART_RELATIF or (genre.ecart and not plus_grand < genre.ecart):
            raise ErreurFabrique(
                f"llama.cpp ne lit pas dans ce fichier le même modèle que transformers (écart de "
                f"{en_bref(plus_grand, 2)} nat)",
                "Signalez-le au projet, avec le nom du modèle et la version de llama.cpp",
                moteur.fichier.name,
            )
    return plus_grand


# ---------------------------------------------------------------- la notice


def notice(fait: Export, modele: str | Path, adaptateur: str | Path | None) -> str:
    """La notice du fichier : d'où il vient, ce qui en est vérifié, comment l'ouvrir."""
    entree = trouver(modele, revision="")
    licence = "à compléter" if entree.licence == "inconnue" else entree.licence
    origine = lire_origine(adaptateur) if adaptateur else None
    appris = "aucun"
    if adaptateur:
        appris = f"« {Path(adaptateur).resolve().name} », fusionné dans les poids"
        if origine:
            demandes = sum(not apprise.startswith(JUMELLE) for apprise in origine.apprises)
            appris += f" ; {accorder(demandes, 'demande apprise', 'demandes apprises')}"
    deja = Path(adaptateur or "", "README.md")
    suite = deja.read_text("utf-8") if adaptateur and deja.is_file() else ""
    differents = "".join(f"\n- « {' '.join(texte.split())[:80]} »" for texte in fait.differents)
    return NOTICE.format(
        nom=fait.fichier.name,
        base=nom_public(entree.depot),
        licence=licence,
        appris=appris,
        type=fait.type,
        taille=en_mo(fait.octets),
        entrees=en_francais(len(fait.vocabulaire.entrees)),
        constats="\n".join(f"- {constat}" for constat in fait.constats()),
        differents=f"\nTextes découpés autrement par llama.cpp :\n{differents}\n"
        if differents
        else "",
        suite=suite.replace("# Notice", "## Notice", 1),
        version=__version__,
    )


#: La notice, à compléter par qui partage le fichier : corpus, usage prévu, limites.
NOTICE = """# {nom}

Modèle de langage au format GGUF (llama.cpp, Ollama), écrit par FabriqueLLM {version}.

| | |
|---|---|
| base | {base} |
| licence de la base | {licence} |
| adaptateur | {appris} |
| type des matrices | {type} |
| taille | {taille} |
| vocabulaire | {entrees} entrées |

## Ce qui a été vérifié

{constats}
{differents}
## L’ouvrir

`ollama create mon-modele -f Modelfile`, puis `ollama run mon-modele` ; ou
`llama-server -m {nom}`. Avant de le partager, dites ici sur quels corpus il a été appris, sous
quelles licences, à quoi il sert et à quoi il ne doit pas servir.

{suite}"""
