"""Outils du dépôt : tests, carnets, adresse."""
