"""Faire servir un modèle affiné : le fusionner, l’exporter, le faire répondre."""
