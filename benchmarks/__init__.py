"""Mesures de qualité, de vitesse et de mémoire : des commandes qui impriment un tableau."""
