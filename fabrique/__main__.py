"""Permet ``python -m fabrique``."""

from fabrique.ligne_de_commande import main

main()
