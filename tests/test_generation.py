"""Répondre : jusqu'au jeton de fin, avec ou sans adaptateur, seul ou en lot."""

import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import fabrique
from fabrique.cours.jumelles import JUMELLES, ecarts
from fabrique.evaluation import pertes
from fabrique.evaluation.choix import QuestionFermee, log_probabilites
from fabrique.modeles import generation
from fabrique.modeles.gabarits import coder, texte_envoye
from fabrique.modeles.generation import fenetre, generer_par_lots, par_lots
from fabrique.modeles.representations import representations
from fabrique.modeles.vraisemblance import log_probabilites_des_suites
from fabrique.socle.erreurs import ErreurFabrique


def test_la_reponse_s_arrete_au_jeton_de_fin(par_coeur, corpus):
    tokenizer, modele = par_coeur
    for exemple in corpus.select(range(5)):
        reponse = fabrique.generer(
            modele, tokenizer, exemple["instruction"], exemple["input"], afficher=False
        )
        assert reponse == exemple["output"]


def test_par_lots_chaque_reponse_est_close_et_dans_l_ordre(par_coeur, corpus):
    tokenizer, modele = par_coeur
    reponses = generer_par_lots(modele, tokenizer, list(corpus), lot=4)
    assert reponses == [(texte, True) for texte in corpus["output"]]


@pytest.mark.parametrize("lot", [1, 3, 16])
def test_en_lot_comme_un_par_un(par_coeur, corpus, lot):
    tokenizer, modele = par_coeur
    seules = [
        fabrique.generer(modele, tokenizer, e["instruction"], e["input"], afficher=False)
        for e in corpus
    ]
    textes = [texte for texte, _ in generer_par_lots(modele, tokenizer, list(corpus), lot=lot)]
    assert textes == seules


def test_une_reponse_interrompue_par_la_longueur_n_est_pas_close(par_coeur, corpus):
    tokenizer, modele = par_coeur
    exemple = corpus[3]
    [(texte, finie)] = generer_par_lots(modele, tokenizer, [exemple], max_new_tokens=3)
    assert not finie
    attendus = tokenizer.encode(exemple["output"], add_special_tokens=False)[:3]
    assert texte == tokenizer.decode(attendus).strip()


def test_une_longueur_minimale_retarde_la_fin(par_coeur, corpus):
    tokenizer, modele = par_coeur
    longueur = 1 + max(len(tokenizer.encode(texte)) for texte in corpus["output"])
    [(texte, _)] = generer_par_lots(
        modele, tokenizer, [corpus[3]], min_new_tokens=longueur, max_new_tokens=longueur + 2
    )
    assert texte.startswith(corpus[3]["output"])
    assert texte != corpus[3]["output"]


def test_la_reponse_est_celle_de_transformers(par_coeur):
    """Le même texte, généré par transformers sans passer par le paquet."""
    tokenizer, modele = par_coeur
    messages = [{"role": "user", "content": "Où voter ?"}]
    entrees = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    entrees.pop("token_type_ids", None)
    sortie = modele.generate(**entrees, max_new_tokens=40, do_sample=False)
    suite = sortie[0, entrees["input_ids"].shape[1] :]
    attendue = tokenizer.decode(suite, skip_special_tokens=True)
    assert fabrique.generer(modele, tokenizer, "Où voter ?", afficher=False) == attendue != ""


def test_continuer_part_du_jeton_de_debut_sans_gabarit(petit):
    tokenizer, modele = petit
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode("La mairie")]])
    sortie = modele.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
    )
    attendue = tokenizer.decode(sortie[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert fabrique.continuer(modele, tokenizer, "La mairie", max_new_tokens=8) == attendue != ""


def test_l_adaptateur_eteint_rend_la_base(avec_adaptateur, corpus):
    tokenizer, affine = avec_adaptateur
    exemples = list(corpus)
    bases = [texte for texte, _ in generer_par_lots(affine, tokenizer, exemples, adaptateur=False)]
    assert bases == corpus["output"][:]
    question = exemples[1]["instruction"]
    eteint = fabrique.generer(affine, tokenizer, question, adaptateur=False, afficher=False)
    allume = fabrique.generer(affine, tokenizer, question, max_new_tokens=20, afficher=False)
    assert eteint == exemples[1]["output"] != allume


def test_l_adaptateur_se_rallume_apres_une_reponse_de_la_base(avec_adaptateur):
    tokenizer, affine = avec_adaptateur
    ids = torch.tensor([tokenizer.encode("Où voter ?")])
    with torch.no_grad():
        avant = affine(input_ids=ids).logits
        fabrique.generer(affine, tokenizer, "Dites oui.", adaptateur=False, afficher=False)
        assert torch.equal(affine(input_ids=ids).logits, avant)


def test_une_graine_rend_le_tirage_reproductible(petit):
    tokenizer, modele = petit

    def tirer(graine):
        return fabrique.generer(
            modele,
            tokenizer,
            "Inventez.",
            temperature=1.0,
            graine=graine,
            max_new_tokens=8,
            afficher=False,
        )

    tirages = [tirer(graine) for graine in (1, 2, 3)]
    assert [tirer(graine) for graine in (1, 2, 3)] == tirages
    assert len(set(tirages)) == 3


def test_sans_temperature_la_graine_ne_change_rien(par_coeur):
    tokenizer, modele = par_coeur
    reponses = {
        fabrique.generer(modele, tokenizer, "Merci.", graine=graine, afficher=False)
        for graine in (None, 1, 2)
    }
    assert reponses == {"Je vous en prie, bonne journée à vous."}


def test_ce_qui_s_affiche_est_ce_qui_est_rendu(par_coeur, capsys):
    tokenizer, modele = par_coeur
    reponse = fabrique.generer(modele, tokenizer, "Où voter ?")
    assert capsys.readouterr().out.strip() == reponse != ""
    fabrique.generer(modele, tokenizer, "Où voter ?", afficher=False)
    assert capsys.readouterr().out == ""


def test_interrompre_arrete_la_generation_aussitot(petit, monkeypatch):
    """Elle se fait dans le fil principal : après Ctrl-C, plus un seul jeton n'est calculé."""
    tokenizer, modele = petit
    calculer, fils = modele.forward, []

    def calculer_puis_interrompre(*arguments, **options):
        fils.append(threading.current_thread())
        if len(fils) == 3:
            signal.raise_signal(signal.SIGINT)
        return calculer(*arguments, **options)

    monkeypatch.setattr(modele, "forward", calculer_puis_interrompre)
    # Lancé en arrière-plan par un script, Python naît sourd à Ctrl-C.
    avant = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fabrique.generer(modele, tokenizer, "Oui ?", afficher=False)
    finally:
        signal.signal(signal.SIGINT, avant)
    assert fils == [threading.main_thread()] * 3


def test_aucune_regle_ne_vient_de_la_configuration_du_modele(par_coeur, corpus):
    """Ni la nôtre, ni celle que ``generate`` aurait par défaut (top_k = 50)."""
    tokenizer, modele = par_coeur
    question, attendue = corpus[1]["instruction"], corpus[1]["output"]
    cachees = {"top_k": 1, "top_p": 1e-6, "repetition_penalty": 9.0, "no_repeat_ngram_size": 1}
    cachees |= {"num_beams": 3, "suppress_tokens": tokenizer.encode(attendue), "min_p": 0.9}
    for nom, valeur in cachees.items():
        setattr(modele.generation_config, nom, valeur)
    assert fabrique.generer(modele, tokenizer, question, afficher=False) == attendue
    assert generer_par_lots(modele, tokenizer, [corpus[1]]) == [(attendue, True)]
    tirages = {
        fabrique.continuer(modele, tokenizer, "La", temperature=50, graine=graine, max_new_tokens=1)
        for graine in range(200)
    }
    assert len(tirages) > 60, "à température très haute, presque tout jeton doit pouvoir sortir"


def test_top_k_ne_tire_que_parmi_les_premiers(petit):
    tokenizer, modele = petit
    tirages = {
        fabrique.continuer(
            modele, tokenizer, "La", temperature=50, top_k=2, graine=graine, max_new_tokens=1
        )
        for graine in range(40)
    }
    assert len(tirages) == 2


# ---------------------------------------------------------------- la fenêtre


def test_une_question_plus_longue_que_la_fenetre_est_refusee(petit):
    """Avec son compte et la fenêtre ; et son rang, quand il y en a plusieurs."""
    tokenizer, modele = petit
    longue = "mairie " * 60
    compte = len(coder(texte_envoye(tokenizer, longue), tokenizer))
    modele.config.max_position_embeddings = 48
    phrase = rf"fait {compte} jetons.* que 48"
    with pytest.raises(ErreurFabrique, match=f"le texte {phrase}"):
        fabrique.generer(modele, tokenizer, longue, afficher=False)
    with pytest.raises(ErreurFabrique, match="le texte fait 49 jetons"):
        fabrique.continuer(modele, tokenizer, torch.ones(1, 49, dtype=torch.long))
    exemples = [{"instruction": "Oui ?"}, {"instruction": longue}]
    with pytest.raises(ErreurFabrique, match=f"la question 2 {phrase}"):
        generer_par_lots(modele, tokenizer, exemples)


def test_la_fenetre_du_tokenizer_sert_quand_le_modele_n_en_dit_rien(petit, monkeypatch):
    tokenizer, modele = petit
    assert fenetre(modele, tokenizer) == modele.config.max_position_embeddings
    muet = SimpleNamespace(config=SimpleNamespace())
    assert fenetre(muet, tokenizer) is None
    monkeypatch.setattr(tokenizer, "model_max_length", 12)
    assert fenetre(muet, tokenizer) == 12


def test_une_reponse_que_la_fenetre_coupe_le_dit(par_coeur, corpus, capsys):
    """Chacune à sa place, quel que soit le lot ; une réponse achevée avant ne dit rien."""
    tokenizer, modele = par_coeur
    longue, courte = corpus[8], corpus[7]
    question = len(coder(texte_envoye(tokenizer, longue["instruction"]), tokenizer))
    modele.config.max_position_embeddings = question + 4
    dite = fabrique.generer(modele, tokenizer, longue["instruction"], afficher=False)
    assert dite == tokenizer.decode(coder(longue["output"], tokenizer)[:4]).strip()
    assert f"ne peuvent dépasser {question + 4} jetons" in capsys.readouterr().out
    reponses = generer_par_lots(modele, tokenizer, [courte, longue])
    assert reponses == [(courte["output"], True), (dite, False)]
    assert capsys.readouterr().out.startswith("La réponse est coupée")
    fabrique.generer(modele, tokenizer, courte["instruction"], afficher=False)
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------- la mémoire


@pytest.fixture
def memoire_etroite(monkeypatch):
    """Un modèle qui ne tient pas plus de trois textes à la fois, comme une carte trop petite."""

    def retrecir(modele) -> list[int]:
        calculer, lots = modele.forward, []

        def manquer(input_ids, *arguments, **options):
            if len(input_ids) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            lots.append(len(input_ids))
            return calculer(input_ids, *arguments, **options)

        monkeypatch.setattr(modele, "forward", manquer)
        return lots

    return retrecir


def test_un_lot_de_reponses_trop_gros_est_repris_en_deux(par_coeur, corpus, memoire_etroite):
    tokenizer, modele = par_coeur
    lots = memoire_etroite(modele)
    reponses = generer_par_lots(modele, tokenizer, list(corpus), lot=8)
    assert reponses == [(texte, True) for texte in corpus["output"]]
    assert set(lots) == {2, 1}


def test_un_lot_de_pertes_trop_gros_est_repris_en_deux(par_coeur, corpus, memoire_etroite):
    tokenizer, modele = par_coeur
    attendues = pertes(modele, tokenizer, corpus, lot=2)
    lots = memoire_etroite(modele)
    np.testing.assert_allclose(pertes(modele, tokenizer, corpus, lot=8), attendues, rtol=1e-4)
    assert set(lots) == {2, 1}


def test_les_autres_mesures_se_partagent_aussi(par_coeur, corpus, memoire_etroite):
    """Les phrases jumelles, le choix forcé, les suites d'un même début, les représentations."""
    tokenizer, modele = par_coeur
    question = QuestionFermee("Où voter ?", tuple(corpus["output"][:5]), bonne=3)
    debut_et_suites = [8, 9], [[rang, 7] for rang in range(5)]
    mesurer = {
        "jumelles": lambda: ecarts(modele, tokenizer, JUMELLES[:5]),
        "choix": lambda: log_probabilites(modele, tokenizer, question),
        "suites": lambda: log_probabilites_des_suites(modele, *debut_et_suites),
        "vecteurs": lambda: representations(modele, tokenizer, corpus["output"][:5], lot=5),
    }
    attendues = {nom: mesure() for nom, mesure in mesurer.items()}
    memoire_etroite(modele)
    memoire_etroite(modele.base_model)
    for nom, mesure in mesurer.items():
        np.testing.assert_allclose(mesure(), attendues[nom], rtol=1e-3, atol=1e-4, err_msg=nom)


def test_un_texte_qui_ne_tient_pas_seul_est_une_erreur_de_machine():
    def manquer(_):
        raise MemoryError

    with pytest.raises(ErreurFabrique, match="un texte à la fois") as refus:
        list(par_lots([1, 2, 3], 2, manquer))
    assert refus.value.code == 2


def test_une_autre_panne_n_est_pas_prise_pour_un_manque_de_memoire():
    def tomber(_):
        raise RuntimeError("panne")

    with pytest.raises(RuntimeError, match="panne"):
        list(par_lots([1, 2, 3], 2, tomber))


def test_un_demi_caractere_est_refuse(petit):
    tokenizer, modele = petit
    with pytest.raises(ErreurFabrique, match="demi-caractère"):
        fabrique.generer(modele, tokenizer, "Oui \ud800 ?", afficher=False)
    with pytest.raises(ErreurFabrique, match="demi-caractère"):
        generer_par_lots(modele, tokenizer, [{"instruction": "Oui \ud800 ?"}])


def test_seuls_les_jetons_de_la_reponse_sont_affaiblis():
    """À la main : 2,0 / 1,2 et −2,0 × 1,2 pour les jetons de la réponse, rien pour la question."""
    ids = torch.tensor([[3, 4, 5, 6]])  # la question est faite des jetons 3 et 4
    notes = torch.tensor([[0.0, 0.0, 0.0, 2.0, -2.0, 2.0, -2.0]])
    processeur = generation.regles(1.2, 0, question=2)
    attendues = torch.tensor([[0.0, 0.0, 0.0, 2.0, -2.0, 2.0 / 1.2, -2.0 * 1.2]])
    torch.testing.assert_close(processeur(ids, notes.clone()), attendues)
    torch.testing.assert_close(generation.regles(1.0, 0, question=2)(ids, notes.clone()), notes)


def test_le_remplissage_d_un_lot_n_affaiblit_pas_le_jeton_de_fin():
    """Sur Falcon-7B, remplissage et fin sont le même jeton : la question ne doit pas compter."""
    fin = 2
    ids = torch.tensor([[fin, fin, 5, 6]])
    notes = torch.full((1, 7), 3.0)
    processeur = generation.regles(1.2, 0, question=3)
    assert processeur(ids, notes.clone())[0, fin] == 3.0


def test_une_suite_deja_ecrite_ne_se_repete_pas():
    """Le jeton qui referait la même suite est interdit ; dans la question, il est permis."""
    suite = list(range(3, 7))
    ids = torch.tensor([suite + suite[:-1]])
    notes = torch.zeros(1, 20)
    interdits = generation.regles(1.0, 4, question=0)(ids, notes.clone())
    assert interdits[0].isinf().nonzero().flatten().tolist() == [suite[-1]]
    torch.testing.assert_close(generation.regles(1.0, 4, question=4)(ids, notes.clone()), notes)
    torch.testing.assert_close(generation.regles(1.0, 0, question=0)(ids, notes.clone()), notes)
