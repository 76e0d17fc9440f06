"""Les enchaînements : affiner d’un bout à l’autre, la démonstration, le coût."""
