"""Contrôler un corpus : chaque dégât est dit au bon endroit, et rien d'autre ne l'est."""

import json
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from datasets import Dataset
from openpyxl import Workbook
from scipy.sparse import csr_array
from stdnum.fr import nir
from test_corpus import en_csv, en_jsonl

from fabrique.corpus import controler, lire_corpus
from fabrique.corpus.formats import reponse
from fabrique.entrainement.exemples import exemples_en_jetons
from fabrique.ligne_de_commande import principal
from fabrique.modeles.gabarits import exemple_en_jetons
from fabrique.socle.emplacements import CORPUS_LIVRES
from fabrique.socle.erreurs import ErreurFabrique

E, A = "erreur", "alerte"

QUESTIONS = [
    ("Où puis-je voter ?", "Au bureau indiqué sur votre carte électorale."),
    ("Comment obtenir un passeport ?", "Prenez rendez-vous dans une mairie équipée."),
    ("Qui délivre le permis de construire ?", "Le maire, le plus souvent."),
    ("Quand déclarer mes revenus ?", "Au printemps, sur le site des impôts."),
    ("L’acte de naissance est-il payant ?", "Non, il est gratuit."),
    ("Mon enfant entre à l’école : que faire ?", "Inscrivez-le d’abord à la mairie."),
    ("J’ai perdu mes papiers.", "Déclarez la perte, puis demandez-en de nouveaux."),
    ("Qu’est-ce que le quotient familial ?", "Le revenu rapporté au nombre de parts."),
    ("Peut-on contester une amende ?", "Oui, dans le délai inscrit sur l’avis."),
    ("À quoi sert la carte Vitale ?", "À prouver vos droits à l’assurance maladie."),
    ("Comment changer d’adresse ?", "Un seul téléservice prévient plusieurs administrations."),
    ("Qui peut demander une aide au logement ?", "Tout locataire, selon ses ressources."),
    ("Que fait un conciliateur de justice ?", "Il aide deux personnes à s’entendre."),
    ("Comment se pacser ?", "En mairie ou chez un notaire."),
    ("Où trouver mon relevé de carrière ?", "Dans votre espace retraite, en ligne."),
    ("Un chien doit-il être déclaré ?", "Oui : il faut l’identifier."),
    ("Quel délai pour répondre ?", "L’administration dispose de deux mois, en général."),
    ("Comment signaler un nid-de-poule ?", "Écrivez au service de la voirie."),
    ("Que faire avant un déménagement ?", "Donnez congé, puis résiliez vos contrats."),
    ("Qui tient les listes électorales ?", "Chaque commune, sous le contrôle de l’État."),
]
#: Vingt exemples sains, en cinq catégories égales.
SAINS = [
    {
        "id": f"exemple-{n:02d}",
        "instruction": question,
        "input": "",
        "output": dite,
        "categorie": f"thème {n % 5}",
        "licence": "CC-BY-4.0",
    }
    for n, (question, dite) in enumerate(QUESTIONS, 1)
]
LONGUE = (
    "Le dossier se dépose à la mairie de votre domicile, avec un justificatif récent et une photo ; "
    "un récépissé vous est remis, et la réponse arrive par courrier en trois semaines."
)
PRESQUE = LONGUE.replace("trois semaines", "quatre semaines")
QUESTION_LONGUE = (
    "Bonjour, je viens d’emménager avec mes deux enfants et je voudrais savoir comment les inscrire "
    "à la cantine avant la rentrée, merci."
)
PRESQUE_LA_QUESTION = QUESTION_LONGUE.replace("deux enfants", "trois enfants")
CORSE = "2 80 07 2A 004 017"
#: Des valeurs inventées dont la clé, quand il y en a une, est juste.
PERSONNELLES = {
    "nir": (
        "Son numéro est le {}.",
        f"1 85 05 78 006 084 {nir.calc_check_digits('1850578006084')}",
    ),
    "nir corse": (
        "Son numéro est le {}.",
        f"{CORSE} {nir.calc_check_digits(CORSE.replace(' ', ''))}",
    ),
    "iban": ("Versez sur le compte {} chaque mois.", "FR14 2004 1010 0505 0001 3M02 606"),
    "siret": ("Indiquez le {} sur la facture.", "732 829 320 00074"),
    "siren": ("Le SIREN de son entreprise est {}.", "732 829 320"),
    "courriel": ("Écrivez à {} demain.", "jeanne.martin@courriel-invente.fr"),
    "telephone": ("Appelez le {} demain.", "06 39 98 12 34"),
    "plaque": ("Sa voiture immatriculée {} est là.", "EF-456-GH"),
    "passeport": ("Son passeport n° {} est perdu.", "12AB34567"),
    "carte_identite": ("Sa carte d’identité n° {} est perdue.", "880692310285"),
    "naissance": ("Madame Dupré, née le {}, attend.", "14 mars 1985"),
    "adresse": ("Elle vit au {}.", "12 rue des Lilas, 69003 Lyon"),
}


@dataclass
class Degat:
    """Un fichier abîmé et, dans l'ordre, tout ce que le contrôle doit en dire.

    Chaque constat attendu est (règle, gravité, rang, ligne, champ).
    """

    contenu: str | bytes
    attendus: list[tuple]
    nom: str = "c.jsonl"
    options: dict = field(default_factory=dict)
    evaluation: str = ""


def avec(**changes) -> list[dict]:
    """Les exemples sains, ceux de certaines lignes changés : ``avec(l3={"output": ""})``."""
    lignes = [dict(exemple) for exemple in SAINS]
    for nom, champs in changes.items():
        lignes[int(nom[1:]) - 1].update(champs)
    return lignes


def sans(rang: int, champ: str) -> list[dict]:
    """Les exemples sains, un champ retiré à l'un d'eux."""
    lignes = avec()
    del lignes[rang - 1][champ]
    return lignes


def ajoutes(*exemples: dict) -> str:
    """Les exemples sains, et d'autres à la suite, sous la même licence."""
    return en_jsonl([*SAINS, *({"licence": "CC-BY-4.0", **exemple} for exemple in exemples)])


def change(ligne: int, texte: str | bytes) -> str | bytes:
    """Le fichier sain, une ligne récrite telle quelle."""
    lignes = en_jsonl(SAINS).splitlines()
    if isinstance(texte, str):
        lignes[ligne - 1] = texte
        return "\n".join(lignes) + "\n"
    octets = [autre.encode() for autre in lignes]
    octets[ligne - 1] = texte
    return b"\n".join(octets) + b"\n"


def conversation(*tours: tuple, cle="messages", role="role", texte="content") -> dict:
    """Une conversation aux rôles et aux contenus donnés."""
    return {cle: [{role: r, texte: t} for r, t in tours], "licence": "CC-BY-4.0"}


BONNE = conversation(("user", "Où voter ?"), ("assistant", "À la mairie."))
HUMAIN, ROBOT = ("human", "Où voter ?"), ("gpt", "À la mairie.")
SHAREGPT = {"cle": "conversations", "role": "from", "texte": "value"}


def un(regle, gravite, rang, champ, ligne=None):
    """L'unique constat attendu, sur la ligne de même numéro que le rang s'il n'est pas dit."""
    return [(regle, gravite, rang, ligne or rang, champ)]


def dans_la_reponse(texte, regle, gravite=E):
    """Une réponse fautive, ligne 6."""
    return Degat(en_jsonl(avec(l6={"output": texte})), un(regle, gravite, 6, "output"))


def dans_deux_jeux(premier: dict, second: dict, champ: str, autres_constats: list = ()) -> Degat:
    """Deux exemples qui se ressemblent, l'un à apprendre, l'autre à l'épreuve."""
    autres = [
        exemple | {"jeu": "entrainement", "licence": "CC-BY-4.0"} for exemple in (*SAINS, premier)
    ]
    contenu = en_jsonl([*autres, second | {"jeu": "test", "licence": "CC-BY-4.0"}])
    return Degat(contenu, [*un("contamination.jeux", E, 22, champ), *autres_constats])


JSON_AERE = json.dumps(SAINS, ensure_ascii=False, indent=2)
COUPE = JSON_AERE[: JSON_AERE.index("permis de") + 3]
SQUAD = {
    "data": [
        {
            "title": "Communes",
            "paragraphs": [
                {
                    "context": "La commune est administrée par un maire.",
                    "qas": [
                        {"id": "a", "question": "Par qui ?", "answers": [{"text": "Un maire."}]},
                        {"id": "b", "question": "Depuis quand ?", "answers": []},
                    ],
                }
            ],
        }
    ]
}
ILLISIBLE = ("structure.illisible", E)

DEGATS = {
    # ------------------------------------------------------------ structure
    "json_coupe": Degat(COUPE, [(*ILLISIBLE, 3, COUPE.count("\n") + 1, None)], "c.json"),
    "ligne_coupee_et_la_suite_controlee": Degat(
        change(7, json.dumps(SAINS[6])[:40]).replace("Il aide deux", "Il aide<br>deux"),
        [(*ILLISIBLE, 7, 7, None), ("texte.html", E, 13, 13, "output")],
    ),
    "latin_1": Degat(
        change(9, '{"instruction": "Déjà ?", "output": "Oui."}'.encode("latin-1")),
        [(*ILLISIBLE, 9, 9, None)],
    ),
    "deux_tableaux_bout_a_bout": Degat(
        json.dumps(SAINS[:10]) + "\n" + json.dumps(SAINS[10:]),
        [(*ILLISIBLE, 11, 2, None)],
        "c.json",
    ),
    "nombre_de_5000_chiffres": Degat(change(4, "9" * 5000), [(*ILLISIBLE, 4, 4, None)]),
    "json_imbrique": Degat(change(4, '{"a":' * 100_000), [(*ILLISIBLE, 4, 4, None)]),
    "colonne_manquante": Degat(
        en_jsonl(sans(17, "output")), un("structure.colonne", E, 17, "output")
    ),
    "output_vide": Degat(
        en_jsonl(avec(l5={"output": " \n"})), un("structure.vide", E, 5, "output")
    ),
    "output_nul": Degat(en_jsonl(avec(l5={"output": None})), un("structure.vide", E, 5, "output")),
    "output_nombre": Degat(en_jsonl(avec(l5={"output": 86})), un("structure.vide", E, 5, "output")),
    "output_liste": Degat(
        en_jsonl(avec(l5={"output": ["Oui."]})), un("structure.vide", E, 5, "output")
    ),
    "instruction_vide": Degat(
        en_jsonl(avec(l20={"instruction": ""})), un("structure.vide", E, 20, "instruction")
    ),
    "input_qui_n_est_pas_un_texte": Degat(
        en_jsonl(avec(l8={"input": {"a": 1}})), un("structure.type", E, 8, "input")
    ),
    "jeu_inconnu": Degat(en_jsonl(avec(l2={"jeu": "train"})), un("structure.jeu", E, 2, "jeu")),
    "exemple_texte": Degat(change(3, '"Où voter ?"'), un("structure.objet", E, 3, None)),
    "exemple_liste": Degat(change(3, '["Où ?", "Ici."]'), un("structure.objet", E, 3, None)),
    "identifiant_repete": Degat(
        en_jsonl(avec(l12={"id": "exemple-04"})), un("structure.identifiant", E, 12, "id")
    ),
    "identifiant_repete_sur_la_meme_ligne": Degat(
        json.dumps(avec(l12={"id": "exemple-04"})),
        un("structure.identifiant", E, 12, "id", ligne=1),
        "c.json",
    ),
    "demi_caractere": Degat(
        en_jsonl(avec()).replace("Non, il", "Non,\\ud800 il"),
        un("encodage.demi_caractere", E, 5, "output"),
    ),
    "demi_caractere_dans_l_identifiant": Degat(
        en_jsonl(avec()).replace("exemple-05", "exemple-\\udfff"),
        un("encodage.demi_caractere", E, 5, "id"),
    ),
    "demi_caractere_dans_un_nom_de_colonne": Degat(
        change(5, '{"\\ud800": "Où ?", "output": "Ici.", "licence": "CC0"}'),
        [("lecture.colonne", A, None, 5, "?"), *un("structure.colonne", E, 5, "instruction")],
    ),
    "formes_melangees": Degat(change(10, json.dumps(BONNE)), un("structure.melange", E, 10, None)),
    # ------------------------------------------------------------ conversations
    "roles_mal_ordonnes": Degat(
        en_jsonl([BONNE, conversation(("assistant", "Oui."), ("user", "Où ?"))]),
        un("structure.roles", E, 2, "messages"),
    ),
    "role_inconnu": Degat(
        en_jsonl([BONNE, conversation(("user", "Où ?"), ("tool", "Ici."))]),
        un("structure.roles", E, 2, "messages"),
    ),
    "sans_reponse": Degat(
        en_jsonl([BONNE, conversation(("system", "Bref."), ("user", "Où ?"))]),
        un("structure.roles", E, 2, "messages"),
    ),
    "message_vide": Degat(
        en_jsonl([BONNE, conversation(("user", "Où ?"), ("assistant", "  "))]),
        un("structure.vide", E, 2, "messages"),
    ),
    "messages_qui_n_en_sont_pas": Degat(
        en_jsonl([BONNE, {"messages": "Où ?", "licence": "CC0"}]),
        un("structure.messages", E, 2, "messages"),
    ),
    "sharegpt_sans_alternance": Degat(
        en_jsonl(
            [conversation(HUMAIN, ROBOT, **SHAREGPT), conversation(HUMAIN, HUMAIN, **SHAREGPT)]
        ),
        un("structure.roles", E, 2, "messages"),
    ),
    "sharegpt_au_role_illisible": Degat(
        en_jsonl([BONNE, conversation((["human"], "Où ?"), ROBOT, **SHAREGPT)]),
        un("structure.format", E, 2, None),
    ),
    "sharegpt_sans_liste": Degat(
        en_jsonl([BONNE, {"conversations": {"human": "Où ?"}, "licence": "CC0"}]),
        un("structure.messages", E, 2, "messages"),
    ),
    "assistant_au_premier_tour": Degat(
        en_jsonl(
            [
                conversation(
                    ("user", "Qui es-tu ?"),
                    ("assistant", "En tant que modèle de langage, je ne suis personne."),
                    ("user", "Où voter ?"),
                    ("assistant", "À la mairie."),
                )
            ]
        ),
        un("texte.assistant", E, 1, "messages[2].content"),
    ),
    "squad_sans_reponse": Degat(
        json.dumps(SQUAD),
        [
            ("licence.absente", A, None, None, "licence"),
            ("structure.vide", E, 2, 1, "output"),
        ],
        "c.json",
    ),
    "squad_sans_questions": Degat(
        en_jsonl([*SAINS, {"data": [{"paragraphs": [{"context": "Un texte."}]}]}]),
        un("structure.format", E, 21, None),
    ),
    # ------------------------------------------------------------ tableaux
    "csv_a_ligne_courte": Degat(
        "instruction,licence,output\nOù ?,CC0,Ici.\nQuand ?,CC0\nQui ?,CC0,Elle.\n",
        un("structure.vide", E, 2, "output", ligne=3),
        "c.csv",
    ),
    "csv_a_ligne_longue": Degat(
        "instruction,licence,output\nOù ?,CC0,Oui, ici.\nQui ?,CC0,Elle.\n",
        [(*ILLISIBLE, 1, 2, None)],
        "c.csv",
    ),
    "csv_au_guillemet_non_referme": Degat(
        'instruction,licence,output\nOù ?,CC0,Ici.\nQuand ?,CC0,"Demain.\nQui ?,CC0,Elle.\n',
        [(*ILLISIBLE, 2, 3, None)],
        "c.csv",
    ),
    "csv_apres_des_lignes_vides": Degat(
        "instruction;licence;output\nOù ?;CC0;Ici.\n\n\nQuand ?;CC0;\n",
        un("structure.vide", E, 2, "output", ligne=5),
        "c.csv",
    ),
    "csv_apres_une_cellule_de_deux_lignes": Degat(
        'instruction;licence;output\nOù ?;CC0;"Ici,\nou là."\nQuand ?;CC0;\n',
        un("structure.vide", E, 2, "output", ligne=4),
        "c.csv",
    ),
    # ------------------------------------------------------------ texte
    "mojibake": dans_la_reponse("Inscrivez-le dâ€™abord Ã  la mairie.", "encodage.mojibake"),
    "caractere_perdu": dans_la_reponse("Inscrivez-le d\ufffdabord.", "encodage.mojibake"),
    "nfd": dans_la_reponse(
        unicodedata.normalize("NFD", "Inscrivez-le à l’école."), "encodage.nfc", A
    ),
    "signe_a_normaliser": dans_la_reponse("La résistance vaut 3 \u2126.", "encodage.nfc", A),
    "caractere_invisible": dans_la_reponse("Inscrivez\u200b-le.", "encodage.invisible", A),
    "html": dans_la_reponse("Inscrivez-le <b>vite</b>.", "texte.html"),
    "entite": dans_la_reponse("La mairie &amp; l’école.", "texte.html"),
    "html_dans_la_question": Degat(
        en_jsonl(avec(l6={"instruction": "Où ?<br/>"})), un("texte.html", E, 6, "instruction")
    ),
    "assistant_modele": dans_la_reponse(
        "En tant que modèle de langage, je ne peux pas répondre.", "texte.assistant"
    ),
    "assistant_ia": dans_la_reponse("Je suis une intelligence artificielle.", "texte.assistant"),
    "assistant_coupure": dans_la_reponse(
        "Mes connaissances s’arrêtent en 2021.", "texte.assistant"
    ),
    "anglais": dans_la_reponse(
        "You must register your child at the town hall before the beginning of the school year.",
        "texte.langue",
    ),
    "inachevee": dans_la_reponse(
        "Inscrivez-le à la mairie, puis prenez rendez-vous avec la directrice de l’école et",
        "texte.inacheve",
        A,
    ),
    # ------------------------------------------------------------ doublons
    "doublon_exact": Degat(
        ajoutes({"instruction": "OÙ  puis-je voter ?", "output": QUESTIONS[0][1]}),
        un("doublon.exact", E, 21, "instruction"),
    ),
    "meme_demande": Degat(
        ajoutes({"instruction": "Où puis-je voter ?", "output": "Dans votre commune."}),
        un("doublon.demande", A, 21, "instruction"),
    ),
    "demande_jumelle": Degat(
        ajoutes({"instruction": "Ou puis je voter", "output": "Dans votre commune."}),
        un("doublon.typographie", A, 21, "instruction"),
    ),
    "doublon_a_l_apostrophe_et_aux_espaces_pres": Degat(
        ajoutes(
            {
                "instruction": "L'acte de nais\u00adsance est-il payant\u202f?",
                "output": QUESTIONS[4][1],
            }
        ),
        [
            ("encodage.invisible", A, 21, 21, "instruction"),
            ("doublon.exact", E, 21, 21, "instruction"),
        ],
    ),
    "contamination_par_une_demande_jumelle": dans_deux_jeux(
        {"instruction": "À qui écrire l’été ?", "output": "Ici."},
        {"instruction": "a qui ecrire l'ete", "output": "Là."},
        "instruction",
        [("doublon.typographie", A, 22, 22, "instruction")],
    ),
    "contamination_evaluation_par_une_demande_jumelle": Degat(
        en_jsonl(SAINS),
        un("contamination.evaluation", E, 10, "instruction"),
        evaluation=en_jsonl([{"instruction": "A quoi sert la carte vitale", "output": "À rien."}]),
    ),
    "quasi_doublon": Degat(
        ajoutes(
            {"instruction": "Comment déposer un dossier ?", "output": LONGUE},
            {"instruction": "Où va ma demande ?", "output": PRESQUE},
        ),
        un("doublon.proche", A, 22, "output"),
    ),
    "contamination_par_l_exemple": dans_deux_jeux(
        {"instruction": "Où ?", "output": "Ici."},
        {"instruction": "Où ?", "output": "Ici."},
        "instruction",
    ),
    "contamination_par_la_demande": dans_deux_jeux(
        {"instruction": QUESTION_LONGUE, "output": "Sur le portail."},
        {"instruction": QUESTION_LONGUE, "output": "Au guichet."},
        "instruction",
    ),
    "contamination_par_une_demande_proche": dans_deux_jeux(
        {"instruction": QUESTION_LONGUE, "output": "Sur le portail."},
        {"instruction": PRESQUE_LA_QUESTION, "output": "Au guichet."},
        "instruction",
    ),
    "contamination_par_la_reponse": dans_deux_jeux(
        {"instruction": "Comment déposer un dossier ?", "output": LONGUE},
        {"instruction": "Où va ma demande ?", "output": PRESQUE},
        "output",
    ),
    "contamination_evaluation_par_la_demande": Degat(
        en_jsonl(SAINS),
        un("contamination.evaluation", E, 4, "instruction"),
        evaluation=en_jsonl([{"instruction": "quand déclarer mes REVENUS ?", "output": "En mai."}]),
    ),
    "contamination_evaluation_par_la_reponse": Degat(
        ajoutes({"instruction": "Comment déposer un dossier ?", "output": LONGUE}),
        un("contamination.evaluation", E, 21, "output"),
        evaluation=en_jsonl([{"instruction": "Et ensuite ?", "output": PRESQUE}]),
    ),
    # ------------------------------------------------------------ longueur, licence, catégorie
    "longueur": Degat(
        ajoutes({"instruction": "Comment déposer un dossier ?", "output": LONGUE}),
        un("longueur.coupe", A, 21, None),
        options={"max_length": 40},
    ),
    "longueur_de_la_question": Degat(
        ajoutes({"instruction": "Que dire " + "encore " * 60 + "?", "output": "Rien de plus."}),
        un("longueur.ecarte", A, 21, None),
        options={"max_length": 60},
    ),
    "licence_fermee": Degat(
        en_jsonl(avec(l11={"licence": "CC BY-NC 4.0"})), un("licence.fermee", E, 11, "licence")
    ),
    "licence_inconnue": Degat(
        en_jsonl(avec(l11={"licence": "voir le site"})), un("licence.inconnue", A, 11, "licence")
    ),
    "licence_absente": Degat(
        en_jsonl(sans(11, "licence")), [("licence.absente", A, None, None, "licence")]
    ),
    "categorie_desequilibree": Degat(
        en_jsonl(
            [e | {"categorie": "impôts" if n > 4 else f"thème {n}"} for n, e in enumerate(SAINS)]
        ),
        [("categorie.desequilibre", A, None, None, "categorie")],
    ),
    # ------------------------------------------------------------ données personnelles
    **{
        f"personnel_{nom}": dans_la_reponse(
            phrase.format(valeur), f"personnel.{nom.removesuffix(' corse')}"
        )
        for nom, (phrase, valeur) in PERSONNELLES.items()
    },
    "personnel_dans_l_identifiant": Degat(
        en_jsonl(avec(l6={"id": "jeanne.martin@courriel-invente.fr"})),
        un("personnel.courriel", E, 6, "id"),
    ),
    "personnel_dans_une_colonne_inconnue": Degat(
        en_jsonl(avec(l6={"auteur": "Jeanne, 06 39 98 12 34"})),
        [
            ("lecture.colonne", A, None, 6, "auteur"),
            ("personnel.telephone", E, 6, 6, "auteur"),
        ],
    ),
    "personnel_dans_la_question": Degat(
        en_jsonl(avec(l6={"instruction": "Qui a le 06 39 98 12 34 ?"})),
        un("personnel.telephone", E, 6, "instruction"),
    ),
}


@pytest.fixture
def ecrire(tmp_path):
    """Écrit un contenu dans un fichier et rend son chemin."""

    def ecrire_un(nom, contenu):
        chemin = tmp_path / nom
        chemin.write_bytes(contenu if isinstance(contenu, bytes) else contenu.encode())
        return chemin

    return ecrire_un


def situer(constats) -> list[tuple]:
    """Ce qui identifie des constats : règle, gravité, rang, ligne, champ."""
    return [(c.regle, c.gravite, c.rang, c.ligne, c.champ) for c in constats]


def test_la_liste_des_degats_est_longue():
    assert len(DEGATS) >= 45
    assert len({regle for d in DEGATS.values() for regle, *_ in d.attendus}) >= 35


@pytest.mark.parametrize("nom", DEGATS)
def test_un_degat_est_dit_au_bon_endroit(ecrire, tokenizer, capsys, nom):
    """Ces constats et aucun autre ; puis la commande, son code, et pas de trace."""
    degat = DEGATS[nom]
    chemin = ecrire(degat.nom, degat.contenu)
    evaluation = ecrire("evaluation.jsonl", degat.evaluation) if degat.evaluation else None
    compte = tokenizer if degat.options else None
    controle = controler(chemin, compte, evaluation=evaluation, **degat.options)
    assert situer(controle.constats) == degat.attendus
    assert all(c.message and "\n" not in c.message + c.extrait for c in controle.constats)

    options = ["--evaluation", str(evaluation)] if evaluation else []
    capsys.readouterr()
    code = principal(["corpus", "controler", str(chemin), *options])
    dit = capsys.readouterr()
    assert code == int(any(gravite == E for _, gravite, *_ in degat.attendus))
    assert "Traceback" not in dit.out + dit.err
    for regle, *_ in degat.attendus:
        assert regle in dit.out or regle.startswith("longueur.")  # la commande compte à 512


REFUS = {
    "c.parquet": (b"PAR1 ceci n'en est pas un", "Parquet", None),
    "c.xlsx": (b"PK\x03\x04 ceci n'en est pas un", "classeur Excel", None),
    "latin.json": ('[\n{"instruction": "Déjà ?"}]'.encode("latin-1"), "UTF-8", 2),
    "vide.jsonl": (b" \n", "le fichier est vide", None),
    "c.docx": (b"PK", "format « .docx »", None),
}


@pytest.mark.parametrize("nom", REFUS)
def test_un_fichier_dont_rien_ne_se_lit_est_refuse(ecrire, capsys, nom):
    contenu, message, ligne = REFUS[nom]
    chemin = ecrire(nom, contenu)
    with pytest.raises(ErreurFabrique, match=message) as prise:
        controler(chemin)
    assert (prise.value.fichier, prise.value.ligne) == (chemin, ligne)
    capsys.readouterr()
    assert principal(["corpus", "controler", str(chemin), "--json"]) == 1
    objet = json.loads(capsys.readouterr().out)
    assert (objet["fichier"], objet["ligne"], objet["code"]) == (str(chemin), ligne, 1)
    assert message in objet["erreur"]


def test_un_degat_dans_un_classeur_donne_sa_rangee(tmp_path):
    classeur = Workbook()
    for rangee in (
        ("instruction", "output", "licence"),
        ("Où ?", "Ici.", "CC0"),
        (),
        ("Qui ?", "", "CC0"),
    ):
        classeur.active.append(rangee)
    classeur.save(tmp_path / "c.xlsx")
    constats = controler(tmp_path / "c.xlsx").constats
    assert situer(constats) == un("structure.vide", E, 2, "output", ligne=4)


def test_un_degat_dans_un_parquet_donne_son_rang(tmp_path):
    lignes = [
        {"instruction": q, "output": q or None, "licence": "CC0"} for q in ("Où ?", "Qui ?", "")
    ]
    Dataset.from_list(lignes).to_parquet(tmp_path / "c.parquet")
    constats = controler(tmp_path / "c.parquet").constats
    assert situer(constats) == [
        ("structure.vide", E, 3, 3, "instruction"),
        ("structure.vide", E, 3, 3, "output"),
    ]


def test_des_octets_a_la_place_d_un_texte_sont_dits(tmp_path):
    lignes = [{"instruction": "Où ?", "output": b"Ici.", "licence": "CC0"}]
    Dataset.from_list(lignes).to_parquet(tmp_path / "c.parquet")
    constats = controler(tmp_path / "c.parquet").constats
    assert situer(constats) == un("structure.vide", E, 1, "output")


# ---------------------------------------------------------------- un corpus sain, le JSON


@pytest.mark.parametrize("nom", ["c.jsonl", "c.json", "c.csv"])
def test_un_corpus_sain_ne_donne_aucun_constat(ecrire, tokenizer, capsys, nom):
    contenus = {"c.jsonl": en_jsonl(SAINS), "c.json": JSON_AERE, "c.csv": en_csv(SAINS)}
    chemin = ecrire(nom, contenus[nom])
    controle = controler(chemin, tokenizer)
    assert (controle.exemples, controle.forme, controle.constats) == (20, "instructions", [])
    assert controle.mesures.categories == {f"thème {n}": 4 for n in range(5)}
    assert controle.mesures.mots == [len(e["output"].split()) for e in SAINS]
    assert principal(["corpus", "controler", str(chemin)]) == 0
    assert "Rien à corriger." in capsys.readouterr().out


def test_le_json_a_la_forme_promise_et_n_est_jamais_tronque(ecrire, capsys):
    """Sortie standard : un objet, même pour un CSV d'Excel, dont le codage est dit parmi les constats."""
    lignes = [
        {"instruction": f"Où est l’arrêt n° {n} ?", "output": "<br>", "licence": "CC0"}
        for n in range(70)
    ]
    chemin = ecrire("c.csv", en_csv(lignes, ";").encode("cp1252"))
    capsys.readouterr()
    assert principal(["corpus", "controler", str(chemin), "--json"]) == 1
    dit = capsys.readouterr()
    objet = json.loads(dit.out)
    assert (objet["fichier"], objet["exemples"]) == (str(chemin), 70)
    cles = {"regle", "gravite", "rang", "ligne", "champ", "extrait", "message"}
    assert all(set(constat) == cles for constat in objet["constats"])
    codage, *autres = objet["constats"]
    assert [(c["rang"], c["ligne"]) for c in autres] == [(n, n + 1) for n in range(1, 71)]
    assert (codage["regle"], codage["rang"], codage["ligne"]) == ("lecture.codage", None, 1)
    assert "lu en Windows-1252" in codage["message"]


def test_la_page_porte_tous_les_constats(ecrire, tmp_path, capsys):
    lignes = [
        {"instruction": f"Où est le n° {n} ?", "output": "<br>", "licence": "CC0"} for n in range(9)
    ]
    page = tmp_path / "rapport.html"
    code = principal(
        ["corpus", "controler", str(ecrire("c.jsonl", en_jsonl(lignes))), "--html", str(page)]
    )
    texte = page.read_text(encoding="utf-8")
    assert code == 1
    assert texte.count("<td>texte.html</td>") == 9
    assert "&lt;br&gt;" in texte
    assert "<br>" not in texte
    assert "… et 6 autres" in capsys.readouterr().out


# ---------------------------------------------------------------- jamais une valeur personnelle


def traces(valeur: str) -> list[str]:
    """La valeur, et chacun de ses bouts reconnaissables."""
    return [valeur, *(m for m in valeur.replace(",", "").split() if len(m) > 4)]


#: Où une valeur peut se trouver, et l'autre règle qui pourrait la montrer.
CACHETTES = {
    "html": ({"output": "<br>{p}"}, "texte.html"),
    "apres_une_autre": ({"output": "{p} {p}"}, "personnel."),
    "derriere_des_blancs": (
        {"instruction": f"Qui ?{' ' * 385}{{p}}", "output": LONGUE},
        "longueur.",
    ),
    "inachevee": (
        {"output": "Voici tout ce que nous savons de cette personne à ce jour : {p} puis"},
        "texte.inacheve",
    ),
    "doublon": ({"instruction": "{p}", "output": "Voilà."}, "doublon.exact"),
    "licence": ({"licence": "interdit, {p}"}, "licence.fermee"),
    "identifiant": ({"id": "{p}"}, "structure.identifiant"),
    "jeu": ({"jeu": "{p}"}, "structure.jeu"),
    "categorie": ({"categorie": "{p}"}, "categorie.desequilibre"),
    "colonne": ({"{p}": "Oui.", "output": None}, "structure.vide"),
}


@pytest.mark.parametrize("cachette", CACHETTES)
def test_un_rapport_ne_montre_jamais_une_donnee_personnelle(ecrire, tokenizer, cachette):
    """Ni la règle qui l'a trouvée, ni une autre, ni les mesures."""
    champs, regle = CACHETTES[cachette]
    for phrase, valeur in PERSONNELLES.values():
        rempli = phrase.format(valeur)
        exemple = SAINS[0] | {
            c.format(p=rempli): v and v.format(p=rempli) for c, v in champs.items()
        }
        copies = [exemple] if cachette in ("html", "colonne") else [exemple] * 2
        chemin = ecrire(
            "c.jsonl", en_jsonl([*copies, *SAINS[1 : 2 if cachette == "categorie" else 3]])
        )
        controle = controler(chemin, tokenizer, max_length=30)
        dit = json.dumps(controle.en_dictionnaire(), ensure_ascii=False)
        if cachette != "categorie":  # il faut quatre catégories pour qu'une pèse trop
            assert any(c.regle.startswith(regle) for c in controle.constats), valeur
        assert [trace for trace in traces(valeur) if trace in dit] == []


def test_un_csv_sans_entete_ne_montre_pas_sa_premiere_ligne(ecrire):
    valeurs = [PERSONNELLES[nom][1] for nom in ("courriel", "telephone")]
    chemin = ecrire("c.csv", f"{';'.join(valeurs)}\nOù ?;Ici.\n")
    dit = json.dumps(controler(chemin).en_dictionnaire(), ensure_ascii=False)
    assert "structure.colonne" in dit
    assert [valeur for valeur in valeurs if valeur in dit] == []


# ---------------------------------------------------------------- les corpus livrés


MINIMUMS = {
    "demarches": 1200,
    "encyclopedie": 250,
    "style_xvii": 250,
    "fiches": 150,
    "questions": 1000,
}


@pytest.mark.parametrize("nom", MINIMUMS)
def test_un_corpus_livre_n_a_rien_a_corriger(livres, nom):
    controle = livres[nom]
    assert controle.constats == []
    assert controle.exemples >= MINIMUMS[nom]
    assert controle.forme == ("fiches" if nom == "fiches" else "instructions")
    assert controle.mesures.suites_distinctes >= 0.6
    assert max(controle.mesures.jetons) <= 512


def test_les_longueurs_annoncees_sont_celles_de_l_apprentissage(tokenizer, tmp_path):
    """Coupés et écartés se comptent comme dans le compte rendu du réglage fin."""
    exemples = [
        {"instruction": f"Q{n} " + "mot " * n, "input": "", "output": "dit " * m}
        for n, m in ((1, 1), (5, 30), (5, 31), (5, 60), (50, 3), (90, 3))
    ]
    longueur = len(exemple_en_jetons(tokenizer, exemples[1])["input_ids"])
    fichier = tmp_path / "c.jsonl"
    fichier.write_text("".join(json.dumps(e) + "\n" for e in exemples), encoding="utf-8")
    controle = controler(fichier, tokenizer, longueur)
    _, compte = exemples_en_jetons(lire_corpus(fichier), tokenizer, longueur)
    regles = Counter(c.regle for c in controle.constats if c.regle.startswith("longueur."))
    assert regles == {"longueur.coupe": compte.coupes, "longueur.ecarte": compte.ecartes}
    assert (compte.coupes, compte.ecartes) == (2, 2)
    assert controle.mesures.jetons == [
        len(exemple_en_jetons(tokenizer, exemple)["input_ids"]) for exemple in exemples
    ]


def test_les_demarches_ont_des_categories_equilibrees(livres):
    mesures, nombre = livres["demarches"].mesures, livres["demarches"].exemples
    assert len(mesures.categories) >= 15
    assert sum(mesures.categories.values()) == nombre
    assert max(mesures.categories.values()) <= 0.12 * nombre
    assert mesures.avec_contexte >= 0.2 * nombre
    assert set(mesures.jeux) == {"entrainement", "validation", "test"}


@pytest.mark.parametrize(
    ("nom", "bas", "haut"),
    [("demarches", 30, 180), ("fiches", 120, 300), ("questions", 15, 45)],
)
def test_les_reponses_livrees_ont_la_bonne_longueur(livres, nom, bas, haut):
    mots = livres[nom].mesures.mots
    assert bas <= min(mots)
    assert max(mots) <= haut


def jaccard_maximal(textes: list[str]) -> float:
    """Le plus fort indice de Jaccard entre deux textes, sur leurs suites de cinq caractères.

    Toutes les paires, exactement, sans rien du paquet : un produit de matrices creuses.
    """
    normaux = [" ".join(texte.casefold().split()) for texte in textes]
    ensembles = [{t[i : i + 5] for i in range(len(t) - 4)} for t in normaux]
    numeros = {suite: n for n, suite in enumerate(sorted(set().union(*ensembles)))}
    colonnes = [numeros[suite] for ensemble in ensembles for suite in ensemble]
    tailles = np.array([len(ensemble) for ensemble in ensembles])
    debuts = np.concatenate([[0], np.cumsum(tailles)])
    presence = csr_array((np.ones(len(colonnes), np.float32), colonnes, debuts))
    communes = (presence @ presence.T).toarray()
    jaccard = communes / (tailles[:, None] + tailles[None, :] - communes)
    np.fill_diagonal(jaccard, 0)
    return float(jaccard.max())


def test_le_calcul_exact_du_jaccard():
    """« abcdef » et « abcdeg » : une suite commune sur trois."""
    assert jaccard_maximal(["abcdef", "ABCDEG", "tout autre"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("nom", MINIMUMS)
def test_aucune_paire_de_reponses_livrees_ne_se_ressemble(nom):
    assert jaccard_maximal([reponse(exemple) for exemple in lire_corpus(nom)]) <= 0.7


def test_les_reponses_livrees_ne_se_repetent_pas(livres):
    """La part de suites de quatre mots distinctes, recomptée sur les textes."""
    for nom in CORPUS_LIVRES:
        vues = [
            suite
            for exemple in lire_corpus(nom)
            for mots in [reponse(exemple).casefold().split()]
            for suite in zip(mots, mots[1:], mots[2:], mots[3:], strict=False)
        ]
        part = len(set(vues)) / len(vues)
        assert livres[nom].mesures.suites_distinctes == pytest.approx(part, abs=1e-6)


def test_les_constats_sont_dans_l_ordre_du_fichier(ecrire):
    """Ceux du fichier entier d'abord, puis de la première ligne à la dernière."""
    lignes = avec(l3={"output": "<br>"}, l9={"output": "06 39 98 12 34"}, l15={"jeu": "x"})
    del lignes[0]["licence"]
    rangs = [c.rang or 0 for c in controler(ecrire("c.jsonl", en_jsonl(lignes))).constats]
    assert rangs == [0, 3, 9, 15]
    assert all(avant <= apres for avant, apres in pairwise(rangs))
