"""L'atelier : vérifier une salle, emporter le cours sur une clé."""
