"""Faire servir un modèle affiné : le fusionner, répondre et affiner à une adresse."""
