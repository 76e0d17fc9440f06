"""Ce que voit l’apprenant : paris, exercices, jeu, schémas, expériences d’un carnet, atelier."""
