"""La page sans code : du document au modèle servi, dans le navigateur (« fabrique page »)."""
