"""Faire servir un modèle : le fusionner, l'exporter en GGUF, répondre et affiner à une adresse."""
