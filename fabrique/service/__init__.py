"""Faire servir un modèle affiné : le fusionner."""
