"""L'incertitude : des intervalles qui couvrent ce qu'ils disent, des p qu'on recompte à la main."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.integrate import quad
from scipy.stats import beta, bootstrap, norm
from sklearn.metrics import cohen_kappa_score

from fabrique.evaluation.incertitude import (
    Releve,
    holm,
    intervalle,
    intervalle_de_l_ecart,
    intervalle_du_gain,
    moyenne,
    p_appariee,
    plus_petite_difference,
    questions_necessaires,
    releve,
)
from fabrique.evaluation.paires import accord
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.reechantillonnage import reechantillonner


def test_un_releve_rapporte_des_sommes():
    """Deux sur trois, zéro sur un, rien sur rien : la moitié, pas la moyenne des parts."""
    lu = releve([(2, 3), (0, 1), (0, 0)])
    assert lu.valeur() == pytest.approx(0.5)
    assert lu.valeur(np.array([[0, 0, 0], [2, 2, 2]])).tolist() == pytest.approx([2 / 3, 0])


def test_une_perplexite_est_l_exponentielle_de_la_perte_par_jeton():
    nats = Releve(np.array([2.0, 4.0]), np.array([1.0, 2.0]), exponentielle=True)
    assert nats.valeur() == pytest.approx(math.exp(2))


# ---------------------------------------------------------------- les intervalles


def test_l_intervalle_de_deux_questions_se_calcule_de_tete():
    """Une juste, une fausse : on tire 0, ½, ½ ou 1."""
    bornes = intervalle(moyenne([1, 0]))
    assert (bornes.bas, bornes.haut) == (0, 1)
    assert not bornes.exclut_zero


def test_un_ecart_constant_n_a_aucune_incertitude():
    avant = moyenne([0.1, 0.5, 0.9])
    bornes = intervalle_de_l_ecart(avant, moyenne([0.2, 0.6, 1.0]))
    assert (bornes.bas, bornes.haut) == pytest.approx((0.1, 0.1))
    assert bornes.exclut_zero


def test_le_gain_est_relatif_et_une_base_nulle_le_rend_infini():
    doubles = intervalle_du_gain(moyenne([1, 2, 3]), moyenne([2, 4, 6]))
    assert (doubles.bas, doubles.haut) == pytest.approx((1, 1))
    assert intervalle_du_gain(moyenne([0, 0, 1]), moyenne([1, 1, 1])).haut == math.inf


def test_une_seule_question_est_refusee():
    with pytest.raises(ErreurFabrique, match="une seule question"):
        intervalle(moyenne([1]))


def test_les_tirages_sont_ceux_de_scipy_pour_la_meme_graine():
    """Les intervalles publiés ne bougent pas : apparié, ou deux groupes tirés à part."""
    hasard = np.random.default_rng(11)
    unes, autres = hasard.gamma(3, 1, 30), hasard.gamma(3, 1, 30)
    for apparie, tailles in ((True, [30]), (False, [30, 30])):
        attendu = bootstrap(
            (unes, autres),
            lambda a, b, axis=-1: a.mean(axis=axis) - b.mean(axis=axis),
            paired=apparie,
            n_resamples=2000,
            method="percentile",
            rng=np.random.default_rng(4),
        )
        obtenu = reechantillonner(
            lambda *rangs: unes[rangs[0]].mean(axis=-1) - autres[rangs[-1]].mean(axis=-1),
            *tailles,
            graine=4,
        )
        assert obtenu.bornes == tuple(attendu.confidence_interval)
        assert obtenu.erreur_type == attendu.standard_error


def test_un_kappa_se_retire_a_la_main():
    """Les mêmes paires retirées, le même kappa ; une paire seule ne borne rien."""
    hasard = np.random.default_rng(3)
    unes = {str(rang): int(v) for rang, v in enumerate(hasard.integers(-1, 2, 12))}
    autres = {cle: v if hasard.random() < 0.7 else 0 for cle, v in unes.items()}
    couples = np.array([(unes[cle], autres[cle]) for cle in sorted(unes)])
    rangs = np.random.default_rng(5).integers(12, size=(500, 12))
    kappas = [cohen_kappa_score(*couples[tirage].T) for tirage in rangs]
    attendues = np.nanquantile(kappas, [0.025, 0.975])
    assert accord(unes, autres, graine=5).ic95 == pytest.approx(attendues)
    assert accord({"a": 1}, {"a": -1}).ic95 == (-1, 1)


def test_les_intervalles_couvrent_la_verite_95_fois_sur_100():
    """Deux modèles simulés 600 fois : l'écart vrai est dans l'intervalle entre 93 et 97 % du temps.

    Les notes ressemblent à des F1 : beaucoup de zéros, une longue queue, et la difficulté de la
    question, commune aux deux modèles.
    """
    hasard, vrai, couverts = np.random.default_rng(2026), _ecart_vrai(), 0
    for graine in range(600):
        difficulte = hasard.beta(1, 3, 120)
        avant = difficulte * hasard.binomial(1, 0.6, 120)
        apres = np.clip(difficulte + hasard.normal(0.05, 0.1, 120), 0, None)
        bornes = intervalle_de_l_ecart(moyenne(avant), moyenne(apres), graine)
        couverts += bornes.bas <= vrai <= bornes.haut
    assert 0.93 <= couverts / 600 <= 0.97


def _ecart_vrai() -> float:
    """L'écart moyen de la simulation, par intégration : E[max(0, X)] = mΦ(m/σ) + σφ(m/σ)."""

    def apres(difficulte: float) -> float:
        m, ecart_type = difficulte + 0.05, 0.1
        positif = m * norm.cdf(m / ecart_type) + ecart_type * norm.pdf(m / ecart_type)
        return positif * beta.pdf(difficulte, 1, 3)

    return quad(apres, 0, 1)[0] - 0.6 * 0.25


# ---------------------------------------------------------------- les tests


def test_cinq_gains_sur_cinq_ne_suffisent_pas():
    """Deux des 32 échanges possibles font aussi bien : p = 2 / 32."""
    assert p_appariee(moyenne([0] * 5), moyenne([1] * 5)) == pytest.approx(2 / 32)


def test_le_p_est_celui_de_tous_les_echanges():
    """Huit questions, 256 échanges recomptés un à un ; numérateur et dénominateur voyagent ensemble."""
    hasard = np.random.default_rng(3)
    avant = releve(list(zip(hasard.integers(0, 4, 8), hasard.integers(4, 9, 8), strict=True)))
    apres = releve(list(zip(hasard.integers(2, 5, 8), hasard.integers(5, 9, 8), strict=True)))
    ecarts = []
    for echanges in product([False, True], repeat=8):
        e = np.array(echanges)
        uns = np.where(e, apres.numerateurs, avant.numerateurs).sum()
        uns /= np.where(e, apres.denominateurs, avant.denominateurs).sum()
        autres = np.where(e, avant.numerateurs, apres.numerateurs).sum()
        autres /= np.where(e, avant.denominateurs, apres.denominateurs).sum()
        ecarts.append(autres - uns)
    observe = apres.valeur() - avant.valeur()
    au_dessus = np.mean([e >= observe - 1e-12 for e in ecarts])
    au_dessous = np.mean([e <= observe + 1e-12 for e in ecarts])
    assert p_appariee(avant, apres) == pytest.approx(min(1, 2 * min(au_dessus, au_dessous)))


def test_deux_modeles_identiques_ont_p_egal_a_un():
    notes = moyenne(np.random.default_rng(0).random(30))
    assert p_appariee(notes, notes) == 1


# ---------------------------------------------------------------- plusieurs mesures


def test_la_correction_de_holm_se_fait_a_la_main():
    """4 × 0,01 ; 3 × 0,02 ; 2 × 0,03, relevé à 0,06 ; 1 × 0,04, relevé à 0,06."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_ne_rend_rien_plus_sur(p):
    corrigees = holm(p)
    assert all(brut <= corrige <= 1 for brut, corrige in zip(p, corrigees, strict=True))
    ordre = sorted(range(len(p)), key=p.__getitem__)
    rangees = [corrigees[rang] for rang in ordre]
    assert rangees == sorted(rangees)


# ---------------------------------------------------------------- combien de questions


def test_la_plus_petite_difference_est_celle_de_la_formule():
    """(1,960 + 0,842) × écart type / √n : avec un écart type de 0,25 et 100 questions, 7 points."""
    assert plus_petite_difference(0.25, 100) == pytest.approx(
        (1.959964 + 0.841621) * 0.025, abs=1e-6
    )
    assert questions_necessaires(0.25, plus_petite_difference(0.25, 100)) == 100


def test_la_plus_petite_difference_se_voit_huit_fois_sur_dix():
    """Simulée 2 000 fois, par un test de Student à peu près normal à cent questions."""
    hasard = np.random.default_rng(5)
    tirages = hasard.normal(plus_petite_difference(0.25, 100), 0.25, (2000, 100))
    z = tirages.mean(axis=1) / (tirages.std(axis=1, ddof=1) / 10)
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.03)
