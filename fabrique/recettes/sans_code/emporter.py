"""Sixième étape : l'adaptateur, le GGUF et sa notice à emporter, ou le modèle servi sur cette machine."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from fabrique.recettes.sans_code.accueil import Accueil
from fabrique.recettes.sans_code.composants import Code, Etape, en_octets, en_phrases
from fabrique.recettes.sans_code.espace import Espace, choisi
from fabrique.recettes.sans_code.service_d_ici import ServiceDIci
from fabrique.service.taches import REUSSI
from fabrique.socle.emplacements import ecrire_signe
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.page import composer

GENRE = "export"
#: Du plus fidèle au plus léger ; le second est le bon choix ordinaire.
TYPES = {"f16 : le plus fidèle": "f16", "q8_0 : deux fois plus léger": "q8_0"}
#: Ce qu'une notice doit dire, et que seule la personne sait.
A_REMPLIR = {
    "usage": "À quoi ce modèle doit servir, et pour qui",
    "limites": "Ce qu’il ne faut pas lui demander",
    "donnees": "D’où viennent les exemples, et sous quelle licence",
}
PYTHON = """from fabrique.service.export import exporter_gguf

print(exporter_gguf({modele!r}, {sortie!r}, {type!r}, {adaptateur!r}))"""


def construire(accueil: Accueil, modele: str) -> Etape:
    """Remplir la notice, exporter, télécharger, servir."""
    etape, espace = Etape(accueil), accueil.espace
    service = ServiceDIci(espace.racine)
    gr.Markdown(
        "Un **adaptateur** se pose sur sa base ; un fichier **GGUF** se lit avec llama.cpp ou Ollama, sans "
        "Python. La **notice** voyage avec eux : remplissez-la."
    )
    affine = etape.liste("emporte", espace.adaptateurs, label="Modèle affiné à emporter")
    champs = [gr.Textbox(label=aide, lines=2, max_lines=6) for aide in A_REMPLIR.values()]
    for nom, champ in zip(A_REMPLIR, champs, strict=True):
        etape.retenir(f"notice_{nom}", champ, "")
    type = gr.Radio(list(TYPES), label="Format du GGUF", value=list(TYPES)[1])
    with gr.Row():
        noter = gr.Button("Écrire la notice")
        exporter = gr.Button("Écrire le GGUF et son Modelfile", variant="primary")
    dit = gr.HTML()
    fichiers = gr.HTML()
    gr.Markdown(
        "## Servir ici\nLe modèle répond sur cette machine à tout programme écrit pour l’API d’OpenAI."
    )
    with gr.Row():
        servir = gr.Button("Servir ce modèle")
        arreter = gr.Button("Arrêter le service", variant="stop")
    etat = gr.HTML()

    etape.lancer(noter, lambda *s: _noter(espace, *s), [affine, *champs], [dit, fichiers])
    etape.lancer(exporter, lambda *s: _exporter(accueil, modele, *s), [affine, type], [dit])
    etape.lancer(servir, lambda montre: _servir(accueil, service, modele, montre), [affine], [etat])
    etape.lancer(arreter, lambda: _arreter(service), [], [etat])
    etape.relire(lambda: _fichiers(espace, espace.choix().get("emporte")), fichiers)
    affine.change(lambda montre: _fichiers(espace, montre), affine, fichiers)
    etape.suivre(service.phrase, lambda: en_phrases(service.phrase()), etat)
    etape.voir_le_code(lambda *s: _code(espace, modele, *s), affine, type)
    return etape


def mots(modele: str, adaptateur: str, type: str, sortie: Path) -> list[str]:
    """La commande d'un export."""
    quoi = ["--model", modele, "--adaptateur", adaptateur, "--type", type]
    return ["exporter", *quoi, "--sortie", str(sortie)]


def _code(espace: Espace, modele: str, montre: str | None, type: str) -> Code:
    adaptateur = choisi(espace.adaptateurs(), montre, "modèle affiné")
    sortie = espace.racine / "exports" / Path(adaptateur).name
    python = PYTHON.format(
        modele=modele, sortie=f"exports/{sortie.name}", type=TYPES[type], adaptateur=adaptateur
    )
    return Code(python, mots(modele, adaptateur, TYPES[type], sortie))


def _exporter(accueil: Accueil, modele: str, montre: str | None, type: str) -> str:
    adaptateur = choisi(accueil.espace.adaptateurs(), montre, "modèle affiné")
    nom = f"{Path(adaptateur).name}-{TYPES[type]}"
    sortie = accueil.espace.libre("exports", nom)
    demande = mots(modele, adaptateur, TYPES[type], sortie)
    accueil.demander(GENRE, f"Export de « {nom} »", demande, sortie / "README.md")
    return en_phrases("L’export est demandé : son avancement est en haut de la page.")


def _noter(espace: Espace, montre: str | None, *dits: str) -> tuple[str, str]:
    """Écrit, à côté de l'adaptateur, la notice que la personne a remplie.

    Raises:
        ErreurFabrique: un champ est vide.
    """
    adaptateur = Path(choisi(espace.adaptateurs(), montre, "modèle affiné"))
    for aide, dit in zip(A_REMPLIR.values(), dits, strict=True):
        if not dit.strip():
            raise ErreurFabrique(f"la notice n’est pas remplie : « {aide} »", "Écrivez une phrase")
    sections = (
        f"## {aide}\n\n{dit.strip()}\n" for aide, dit in zip(A_REMPLIR.values(), dits, strict=True)
    )
    mesures = (adaptateur / "README.md").read_text("utf-8")
    ecrire_signe(
        espace.dossier("notices") / f"{adaptateur.name}.md", "\n".join([mesures, *sections])
    )
    dit = en_phrases(f"Notice écrite pour « {adaptateur.name} ».")
    return dit, _fichiers(espace, adaptateur.name)


def _fichiers(espace: Espace, montre: str | None) -> str:
    """Tout ce qu'on emporte d'un modèle affiné : l'adaptateur, la notice, ses exports finis."""
    if montre not in espace.adaptateurs():
        return ""
    adaptateur = Path(espace.adaptateurs()[montre])
    trouves = [adaptateur / nom for nom in ("adapter_model.safetensors", "adapter_config.json")]
    trouves.append(espace.dossier("notices") / f"{montre}.md")
    exports = [
        export
        for type in TYPES.values()  # « accueil-* » prendrait aussi ceux de « accueil-2 »
        for export in espace.dossier("exports").glob(f"{montre}-{type}*")
    ]
    for export in sorted(exports):
        if (export / "README.md").is_file():
            trouves += sorted(f for f in export.iterdir() if not f.name.startswith("."))
    fichiers = [
        {
            "chemin": f,
            "taille": en_octets(f.stat().st_size),
            "dossier": f.parent.relative_to(espace.racine).as_posix(),
        }
        for f in trouves
        if f.is_file()
    ]
    return composer(
        "recettes/sans_code/a_emporter.html", f"« {montre} », à emporter", fichiers=fichiers
    )


def _servir(accueil: Accueil, service: ServiceDIci, modele: str, montre: str | None) -> str:
    adaptateur = choisi(accueil.espace.adaptateurs(), montre, "modèle affiné")
    index = accueil.espace.index if accueil.derniere("index", REUSSI) else None
    accueil.verifier_la_memoire(modele)
    accueil.repondant.liberer()
    service.lancer(modele, adaptateur, index)
    return en_phrases(service.phrase())


def _arreter(service: ServiceDIci) -> str:
    service.arreter()
    return en_phrases(service.phrase())
