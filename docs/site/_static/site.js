// Trois retouches que le HTML produit ne permet pas de faire à la source.
document.addEventListener("DOMContentLoaded", () => {
  // Un tableau large défile dans sa boîte, et non la page.
  for (const tableau of document.querySelectorAll(".cell_output table")) {
    const boite = document.createElement("div");
    boite.className = "defile";
    tableau.replaceWith(boite);
    boite.append(tableau);
  }
  // Ce qui défile se lit aussi au clavier : le focus doit pouvoir s’y poser.
  for (const zone of document.querySelectorAll(".defile, .bd-article pre, .pst-scrollable-table-container"))
    if (zone.scrollWidth > zone.clientWidth) zone.tabIndex = 0;
  // Une case d’en-tête vide n’en est pas une ; une ligne d’en-têtes vides se retire.
  for (const titre of document.querySelectorAll(".bd-article th")) {
    if (titre.textContent.trim()) continue;
    const cellule = document.createElement("td");
    cellule.append(...titre.childNodes);
    titre.replaceWith(cellule);
  }
  for (const tete of document.querySelectorAll(".bd-article thead"))
    if (!tete.textContent.trim()) tete.className = "vide";
  // Le nom lu d’un bouton contient ce qu’on y voit.
  for (const bouton of document.querySelectorAll(".search-button__button"))
    if (bouton.innerText.trim())
      bouton.setAttribute("aria-label", bouton.textContent.replace(/\s+/g, " ").trim());
});
