"""Faire servir un modèle affiné : le fusionner, l’exporter, répondre et affiner à une adresse."""
