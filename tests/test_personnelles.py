"""Repérer les données personnelles et les remplacer ; toutes les valeurs d'ici sont fictives."""

from itertools import pairwise

import pytest
from datasets import Dataset
from hypothesis import given, strategies as st
from stdnum.fr import nir

from fabrique.corpus import donnees_personnelles
from fabrique.corpus.personnelles import REGLES, Trouvaille, pseudonymiser, reperer

NIR = "1 84 07 33 063 012 40"
IBAN = "FR76 3000 6000 0112 3456 7890 189"

#: Chaque valeur est entre « et » : c'est elle, et elle seule, qui doit être trouvée.
TROUVEES = {
    "nir": [
        f"Mon numéro est le «{NIR}».",
        "NIR : «184073306301240»",
        "n° «1.84.07.33.063.012.40», à vérifier",
        "sécu «1840733063012 clé 40» merci",
        "numéro«184073306301240»",
        "Née à Ajaccio : «2 93 11 2A 004 087 37».",
        "et son frère «1 91 03 2b 033 021 56»",
        "de La Réunion «1 88 05 974 11 023 49»",
        "espaces fines «1\u202f84\u200907\u200733\u3000063\u00a0012\u202f40»",
        "tirets longs «1–84–07–33–063–012–40»",
        "points médians «1·84·07·33·063·012·40»",
        "barres «1/84/07/33/063/012/40»",
        "doubles espaces «1  84  07  33  063  012  40»",
        "pleine chasse «１８４０７３３０６３０１２４０»",
        "césures invisibles «1 84\u200b 07\xad 33 063 012 40»",
        # Sans sa clé, quand la phrase dit ce que c'est.
        "n° de sécurité sociale : «1 84 07 33 063 012»",
        "NIR «1840733063012»",
        "mon numéro de sécu, c’est «1-84-07-33-063-012», merci",
        "Le «1 84 07 33 063 012», sans la clé.",
        "numéro INSEE «2 93 11 2A 004 087»",
        "nume\u0301ro de se\u0301curite\u0301 sociale «1840733063012»",
    ],
    "iban": [
        f"Virez sur «{IBAN}» avant mardi.",
        f"IBAN «{IBAN}» BIC AGRIFRPP",
        "virement de 50 euros sur «fr7630006000011234567890189»",
        "compte allemand «DE89 3704 0044 0532 0130 00» COBA",
        "norvégien : «NO93 8601 1117 947»",
        "polonais : «PL61 1090 1014 0000 0712 1981 2874» BIC BPKOPLPW",
        "maltais «MT84 MALT 0110 0001 2345 MTLC AST0 01S» VALLMTMT",
        "roumain «RO49AAAA1B31007593840000» au nom de Ion",
        "grec «gr16 0110 1250 0000 0001 2300 695», merci",
        "espaces fines «FR76\u202f3000\u202f6000\u202f0112\u202f3456\u202f7890\u202f189»",
        "tirets «FR76\u20113000\u20116000\u20110112\u20113456\u20117890\u2011189»",
        "doubles espaces «FR76  3000  6000  0112  3456  7890  189»",
        "barres «FR76/3000/6000/0112/3456/7890/189»",
        # Seize de ces chiffres font un NIR juste : c'est pourtant un IBAN.
        "C’est «FR76 8621 5255 1942 0158 8927 038».",
    ],
    "carte_bancaire": [
        "carte «4970 4212 3456 7895», exp. 05/29",
        "CB «4970421234567895»",
        "«5305-4512-3456-7895»",
        "la carte «2221.0012.3456.7896» est bloquée",
        "American Express : «3712 345678 90120»",
        "Diners «3625 123456 7896»",
        "JCB «3530 1113 3330 0000»",
        "UnionPay «6200 0000 0000 0005»",
        "Maestro «6759 6498 2643 8453»",
        "espaces fines «4970\u202f4212\u202f3456\u202f7895»",
    ],
    "siret": [
        "SIRET «732 829 320 00074»",
        "facturé par «73282932000074», à Lyon",
        "Siret : «732829320 00074».",
    ],
    "siren": [
        "SIREN «732 829 320»",
        "immatriculée au RCS de Paris sous le n° «732829320».",
        "Lucie D., «732 829 320» RCS Paris",
        "Le kbis indique «732 829 320» comme Siren.",
    ],
    "telephone": [
        "Appelez le «06 39 98 12 34».",
        "tél.«0639981234»",
        "au «01.99.00.12.34», le soir",
        "«04-65-71-12-34» ou rien",
        "«+33 6 39 98 12 34»",
        "«+33 (0)6 39 98 12 34»",
        "«0033639981234»",
        "La Réunion : «0262 00 12 34»",
        "Guadeloupe : «+590 590 00 12 34»",
        "Tahiti : «+689 40 00 12 34»",
        "Nouméa : «00 687 00 12 34»",
        "«(+33) 6 39 98 12 34»",
        "«(+33)639981234»",
        "«(0033) 6 39 98 12 34»",
        "«+(33) 6 39 98 12 34»",
        "«0033 6.39.98.12.34»",
        "(«+33 6 39 98 12 34», le soir)",
        "fines «06\u200939\u200998\u200912\u200934»",
        "insécables «04\u201165\u201171\u201112\u201134»",
        "demi-cadratins «04–65–71–12–34»",
        "médians «06·39·98·12·34»",
        "«06\u200b39\u200b98\u200b12\u200b34», collé d’un site",
        "Londres «+44 20 7946 0958»",
        # Numéros que Royaume-Uni, Allemagne, Suède, Australie et États-Unis réservent aux fictions.
        "Leeds : «0044 113 496 0123» ou rien",
        "Glasgow «(+44) 141 496 0123»",
        "Berlin «+49 (30) 23125 123»",
        "Stockholm, «+46 8 465 004 12».",
        "Sydney «00 61 2 5550 1234»",
        "Montréal «+1 514-555-0134»",
        # Suivis d'un autre nombre : une extension, un code postal.
        "«+44 20 7946 0958» / 0959",
        "Leeds «+44 113 496 0123», 1000 Bruxelles",
        "«+44 113 496 0123» 1000 Bruxelles",
        "«+46 8 465 004 12» - 1204 Genève",
    ],
    "courriel": [
        "à «marie.durand@boite-fictive.fr».",
        "«MARIE@BOITE-FICTIVE.FR» ?",
        "«marie [at] boite-fictive.fr»",
        "«marie(at)boite-fictive.fr»",
        "«marie[arobase]boite-fictive[point]fr»",
        "«marie arobase boite-fictive point fr»",
        "«jean@mon-exemple.fr» n’est pas un domaine d’exemple",
        "«contact.durand@boite-fictive.fr»",
        "ou «marie.durand @boite-fictive.fr».",
        "ou «marie_durand@ boite-fictive.fr».",
        "chasse «marie＠boite-fictive．fr»",
        "cachée «ma\u200brie@boite-fictive.fr»",
        "décomposée «he\u0301le\u0300ne@boite-fictive.fr»",
    ],
    "adresse": [
        "J’habite «12 rue des Lilas».",
        "J’habite «12\u202fbis,\u00a0rue de l’E\u0301te\u0301».",
        "«12 bis, avenue Jean Jaurès, 44000 Nantes».",
        "Paul\n«3 place du Général de Gaulle\n72000 Le Mans»\n\nObjet",
        "au «8 rue du 8 mai 1945» depuis mai",
        "domicilié «17 av. de la République 69003 Lyon»",
        "j'habite au «5 rue des lilas» depuis 2012",
        "«5 impasse des lilas 35000 rennes» merci",
        "«126 rue de l’Université» et le reste",
    ],
    "plaque": [
        "Sa voiture, «GK-482-TR», est bleue.",
        "«GK‑482‑TR»",
        "«GK 482 TR»",
        "«GK482TR»",
        "ma voiture «gk 482 tr» est en panne",
        "immatriculée «gk-482-tr»",
        "immatriculée «4821 TRE 75» en 1998",
        "Plaque «482-TRE-2A»",
    ],
    "passeport": [
        "passeport n° «19FV12345»",
        "Mon passeport, délivré le 12 mars 2020, porte le «19 FV 12345».",
        "«19fv12345» (passeport)",
    ],
    "carte_identite": [
        "carte d’identité n° «880692310285»",
        "CNI «X4RTBPFW4»",
        "ma carte identité «X4RTBPFW4»",
        "cni: «x4rtbpfw4»",
        "Carte nationale d'identité\nNuméro : «8806 9231 0285»",
    ],
    "naissance": [
        "Née le «12/03/1984» à Lille.",
        "né à Saint-Denis (93) le «1er août 1990»",
        "Date de naissance : «1984-03-12»",
        "naissance\n«12 mars 1984»",
        "je suis nee le «12.03.84»",
        "ddn : «12/03/84»",
        "née le «12 févr. 1984»",
        "né le «3 juil. 1984» à Lille",
        "Née le «1er sept 1984»",
        "Date de naissance : «12 déc. 1984»",
        "ne\u0301 le «12 fe\u0301vrier 1984»",
        "né le «12\u202fmars\u202f1984»",
        "née le «12–03–1984»",
        "ne\u2060\u0301e le «12 mars 1984»",
    ],
}

EPARGNEES = {
    "nir": [
        "clé fausse : 1 84 07 33 063 012 41",
        "trop long : 1840733063012409",
        "mois 13 : 1 84 13 33 063 012 39",
        "Corse, clé fausse : 2 93 11 2A 004 087 38",
        "la commande 1 84 07 33 063 012",
        "à la sécurité sociale, mois 13 : 1 84 13 33 063 012",
        "sécurité sociale : 18407330630 euros en 2024",
        "NIR : treize chiffres, puis deux pour la clé",
    ],
    "iban": ["FR76 3000 6000 0112 3456 7890 188", "référence FR12 ABCD 1234"],
    "carte_bancaire": [
        "clé fausse : 4970 4212 3456 7894",
        "réseau inconnu : 9970 4212 3456 7890",
        "trop long : 497042123456789512",
        "le montant 4970421234567895,50",
        "de 4970 à 4212, puis 3456 et 7895",
    ],
    "siret": ["732 829 320 00075", "organisme public : 213 300 635 00017"],
    "siren": [
        "732 829 320 habitants",
        "SIREN 732 829 321",
        "SIREN de la métropole : 244400404",
    ],
    "telephone": [
        "le 01/02/2013 14 h 30",
        "Composez le 3939 ou le 08 00 12 34 56.",
        "3.0639981234",
        "le total est 10639981234",
        "le 15, le 17, le 112",
        "réservé : +99 123 456 789",
        "trop court : +44 20 79",
        "numéro vert suisse : +41 800 55 63 76",
        "le dossier 00 1234 5678 9012",
        "environ +12 345 678 habitants",
        "sans indicatif : 020 7946 0958",
        "surtaxé : +33 8 99 12 34 56",
    ],
    "courriel": [
        "marie@exemple.fr",
        "marie@mail.example.com",
        "contact@boite-fictive.fr",
        "courrier-test@service.gouv.fr",
        "suivez @mairie.fr",
        "paquet@v-0.3.0",
        "écrivez à Marie @mairie.fr",
        "vous-même @mairie.fr",
    ],
    "adresse": [
        "Fondée en 814 av. J.-C. par Didon.",
        "11, rue de la Fiction\n44941 Nantes Cedex 09",
        "10, rue du Rêve\nTSA 10010\n93465 Noisy",
        "Elle naît le 27 novembre 1635 rue du Pont.",
        "3 places assises, 2 cours particuliers",
    ],
    "plaque": [
        "de la forme AB-123-CD ou AB 123 CD",
        "une voiture de 150 ch",
        "l’article LO 123 AB du code",
        "SS-123-AA",
        "le lot 482 TRE 75",
        "une immatriculation de type 123-AB-45",
    ],
    "passeport": ["le lot 19FV12345", "passeport valable 10 ans, 86 euros en 2024"],
    "carte_identite": [
        "commande 880692310285",
        "CNI : le formulaire CERFA2023",
        "la carte d’identité coûte 25 euros",
    ],
    "naissance": [
        "Descartes est né le 31 mars 1596.",
        "les assurés nés avant le 1er janvier 1934",
        "aux naissances à compter du 1er juillet 2021",
        "un acte de naissance délivré le 12 mars 2023",
        "Il est né le 18 décembre 1922 et mort le 4 mai 1990.",
        "née à Lyon ; le 31/13/1984 n’existe pas, ni née 45/10/1984",
        "On ne vote pas le 12 mars 2023.",
        "née à Lyon, elle y revient en févr. 2020",
        "un acte de naissance délivré le 12 févr. 2023",
        "né le 12 févr. 1884",
        "l’enfant né entre le 16 septembre 2002 et le 31 décembre 2014",
    ],
}


def trouver(texte):
    """Les données d'un texte : (règle sans préfixe, valeur), dans l'ordre du texte."""
    lues = sorted((debut, fin, regle.nom) for regle, debut, fin in reperer(texte))
    return [(nom.removeprefix("personnel."), texte[debut:fin]) for debut, fin, nom in lues]


def a_plat(cas):
    return [(regle, phrase) for regle, phrases in cas.items() for phrase in phrases]


def test_chaque_regle_a_des_cas_dans_les_deux_sens():
    noms = {regle.nom.removeprefix("personnel.") for regle in REGLES}
    assert noms == set(TROUVEES) == set(EPARGNEES)


@pytest.mark.parametrize("regle", REGLES, ids=lambda r: f"{r.nom} {r.exemple[:20]}")
def test_chaque_regle_trouve_son_exemple_et_epargne_son_contre_exemple(regle):
    avant, suite = regle.exemple.split("«")
    valeur, apres = suite.split("»")
    texte = avant + valeur + apres
    assert [(r, texte[d:f]) for r, d, f in reperer(texte)] == [(regle, valeur)]
    assert trouver(regle.contre_exemple) == []


@pytest.mark.parametrize(("regle", "phrase"), a_plat(TROUVEES))
def test_une_donnee_est_trouvee_et_elle_seule(regle, phrase):
    avant, suite = phrase.split("«")
    valeur, apres = suite.split("»")
    assert trouver(avant + valeur + apres) == [(regle, valeur)]


@pytest.mark.parametrize(("regle", "phrase"), a_plat(EPARGNEES))
def test_ce_qui_n_est_pas_une_donnee_est_epargne(regle, phrase):
    assert trouver(phrase) == []


COLONNES = [
    ({"nir": "1 84 07 33 063 012"}, "nir", "nir"),
    ({"date_naissance": "12/03/1984"}, "date_naissance", "naissance"),
    ({"source": "née le 12 février 1984"}, "source", "naissance"),
]


@pytest.mark.parametrize(("colonne", "champ", "regle"), COLONNES)
def test_le_nom_d_une_colonne_eclaire_sa_valeur(colonne, champ, regle):
    """Repérée, puis remplacée en entier ; la même valeur sans ce nom n’est qu’un nombre."""
    corpus = Dataset.from_list([{"instruction": "Où voter ?", "output": "Ici.", **colonne}])
    assert donnees_personnelles(corpus) == [Trouvaille(f"personnel.{regle}", 1, champ)]
    propre, comptes = pseudonymiser(corpus)
    assert sum(comptes.values()) == 1
    assert not any(signe.isdigit() for signe in propre[champ][0].replace("_1]", "]"))
    if champ != "source":
        autre = Dataset.from_list([{"instruction": "Où voter ?", "lot": colonne[champ]}])
        assert donnees_personnelles(autre) == []


def test_deux_donnees_voisines_sont_trouvees_toutes_les_deux():
    texte = "12 rue des Lilas 06 39 98 12 34 GK-482-TR"
    assert [nom for nom, _ in trouver(texte)] == ["adresse", "telephone", "plaque"]


sans_chiffre_colle = st.text(st.characters(codec="utf-8")).filter(
    lambda texte: not texte or not (texte[0].isalnum() or texte[-1].isalnum())
)


@st.composite
def nirs(tirer):
    """Un NIR de clé juste, corse ou non."""
    annee, mois = tirer(st.integers(0, 99)), tirer(st.integers(1, 12))
    departement = tirer(st.sampled_from(["01", "33", "75", "97", "99", "2A", "2B"]))
    suite = tirer(st.integers(1, 999_999))
    racine = f"{tirer(st.sampled_from('12'))}{annee:02}{mois:02}{departement}{suite:06}"
    return racine + nir.calc_check_digits(racine)


@given(numero=nirs(), avant=sans_chiffre_colle, apres=sans_chiffre_colle, espace=st.booleans())
def test_un_nir_juste_est_trouve_dans_toute_phrase(numero, avant, apres, espace):
    ecrit = nir.format(numero) if espace else numero
    texte = f"{avant} : {ecrit} ; {apres}"
    assert ("nir", ecrit) in trouver(texte)


@given(numero=nirs(), ecart=st.integers(1, 96))
def test_un_nir_de_cle_fausse_est_refuse(numero, ecart):
    cle = (int(numero[13:]) - 1 + ecart) % 97 + 1
    assert trouver(f"Numéro {numero[:13]}{cle:02}.") == []


@given(
    valeur=st.sampled_from([NIR, IBAN, "06 39 98 12 34", "marie@boite-fictive.fr"]),
    avant=sans_chiffre_colle,
    apres=sans_chiffre_colle,
    signe=st.sampled_from(["\u200b", "\u2060", "\xad", "e\u0301", "\u202f"]),
)
def test_les_places_sont_celles_du_texte_d_origine(valeur, avant, apres, signe):
    """Si tordu que soit ce qui précède et ce qui suit."""
    texte = f"{signe}{avant} : {signe} ; {valeur} ; {signe}{apres}"
    debut = texte.rindex(f" ; {valeur} ; ") + 3
    assert (debut, debut + len(valeur)) in {(d, f) for _, d, f in reperer(texte)}


# ---------------------------------------------------------------- un corpus


def corpus_de(*reponses):
    return Dataset.from_list([{"instruction": "Qui ?", "input": "", "output": r} for r in reponses])


def test_une_trouvaille_dit_ou_chercher_sans_rien_montrer():
    corpus = corpus_de("Rien.", "Appelez le 06 39 98 12 34.")
    assert donnees_personnelles(corpus) == [Trouvaille("personnel.telephone", 2, "output")]


@pytest.mark.parametrize(
    ("une", "autre"),
    [
        (NIR, NIR.replace(" ", "")),
        (NIR, "1840733063012 clé 40"),
        (NIR, NIR.replace(" ", "\u202f")),
        ("(+33) 6 39 98 12 34", "0033\u202f6\u202f39\u202f98\u202f12\u202f34"),
        ("+44 20 7946 0958", "0044 2079460958"),
        ("hélène@boite-fictive.fr", "he\u0301le\u0300ne@boite-fictive.fr"),
        (IBAN, IBAN.replace(" ", "").lower()),
        ("06 39 98 12 34", "+33 (0)6.39.98.12.34"),
        ("marie@boite-fictive.fr", "Marie [at] boite-fictive [point] fr"),
        ("12 rue des Lilas", "12, rue des Lilas"),
        ("GK-482-TR", "GK482TR"),
    ],
)
def test_une_meme_valeur_a_toujours_le_meme_pseudonyme(une, autre):
    propre, comptes = pseudonymiser(corpus_de(f"Voici {une}.", f"Encore {autre}."))
    premier, second = propre["output"][:]
    assert premier.removeprefix("Voici ") == second.removeprefix("Encore ")
    assert sum(comptes.values()) == 2


def test_la_question_eclaire_la_reponse():
    """« Son numéro de sécurité sociale ? » : treize chiffres dans la réponse sont un NIR."""
    exemple = {"instruction": "Quel est son numéro de sécu ?", "output": "Le 1 84 07 33 063 012."}
    autre = {"instruction": "Quel est son dossier ?", "output": "Le 1 84 07 33 063 012."}
    corpus = Dataset.from_list([exemple, autre])
    assert donnees_personnelles(corpus) == [Trouvaille("personnel.nir", 1, "output")]
    assert pseudonymiser(corpus)[0]["output"][:] == ["Le [NIR_1].", autre["output"]]


def test_les_colonnes_qui_accompagnent_sont_fouillees_et_nettoyees():
    exemple = {
        "id": "paul.petit@boite-fictive.fr",
        "instruction": "Où voter ?",
        "output": "À la mairie.",
        "source": "appel du 06 39 98 12 34",
        "categorie": f"NIR {NIR}",
        "licence": "accord de marie.durand@boite-fictive.fr",
        "auteur": "Paul Petit, né le 12 mars 1984",
    }
    corpus = Dataset.from_list([exemple])
    vues = {(t.regle.removeprefix("personnel."), t.champ) for t in donnees_personnelles(corpus)}
    assert vues == {
        ("courriel", "id"),
        ("telephone", "source"),
        ("nir", "categorie"),
        ("courriel", "licence"),
        ("naissance", "auteur"),
    }
    propre, comptes = pseudonymiser(corpus)
    assert donnees_personnelles(propre) == []
    assert (propre[0]["id"], propre[0]["licence"]) == ("[COURRIEL_1]", "accord de [COURRIEL_2]")
    assert (propre[0]["output"], sum(comptes.values())) == ("À la mairie.", 5)


def test_deux_valeurs_ont_deux_pseudonymes():
    propre, comptes = pseudonymiser(corpus_de("06 39 98 12 34 puis 06 39 98 43 21"))
    assert propre["output"][:] == ["[TELEPHONE_1] puis [TELEPHONE_2]"]
    assert comptes == {"personnel.telephone": 2}


def test_deux_courriels_d_accents_differents_restent_deux():
    propre, _ = pseudonymiser(corpus_de("é@boite-fictive.fr ; è@boite-fictive.fr"))
    assert propre["output"][:] == ["[COURRIEL_1] ; [COURRIEL_2]"]


def test_les_conversations_sont_pseudonymisees():
    messages = [
        {"role": "user", "content": f"Mon numéro est {NIR}."},
        {"role": "assistant", "content": f"{NIR.replace(' ', '')}, c’est noté."},
    ]
    propre, comptes = pseudonymiser(Dataset.from_list([{"messages": messages}]))
    dits = [message["content"] for message in propre[0]["messages"]]
    assert dits == ["Mon numéro est [NIR_1].", "[NIR_1], c’est noté."]
    assert comptes == {"personnel.nir": 2}


def test_un_corpus_sans_donnee_ne_change_pas():
    corpus = corpus_de("La mairie ouvre à 9 h.")
    propre, comptes = pseudonymiser(corpus)
    assert propre.to_list() == corpus.to_list()
    assert comptes == {}


PHRASES = [
    phrase.replace("«", "").replace("»", "") for _, phrase in a_plat(TROUVEES) + a_plat(EPARGNEES)
]
melanges = st.lists(
    st.tuples(st.sampled_from(PHRASES), st.sampled_from([" ", ", ", "\n", ". ", " et "])),
    min_size=1,
    max_size=5,
).map(lambda paires: "".join(phrase + lien for phrase, lien in paires))


@given(texte=melanges)
def test_repasser_ne_change_rien(texte):
    une_fois, _ = pseudonymiser(corpus_de(texte))
    deux_fois, comptes = pseudonymiser(une_fois)
    assert comptes == {}
    assert deux_fois["output"][:] == une_fois["output"][:]


def test_aucune_valeur_ne_reste():
    valeurs = [p.split("«")[1].split("»")[0] for _, p in a_plat(TROUVEES)]
    phrases = [p.replace("«", "").replace("»", "") for _, p in a_plat(TROUVEES)]
    propre, comptes = pseudonymiser(corpus_de(*phrases))
    restes = [v for v, dit in zip(valeurs, propre["output"][:], strict=True) if v in dit]
    assert restes == []
    assert sum(comptes.values()) == len(valeurs)


@given(texte=st.text(max_size=200), autre=st.text(max_size=200))
def test_les_donnees_ne_se_chevauchent_jamais(texte, autre):
    melange = f"{texte} {NIR} {autre} {IBAN} 12 rue des Lilas {texte}"
    lues = sorted((debut, fin) for _, debut, fin in reperer(melange))
    assert all(fin <= suivant for (_, fin), (suivant, _) in pairwise(lues))
