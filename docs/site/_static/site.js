// Ce qui défile se lit aussi au clavier : le focus doit pouvoir s'y poser.
document.addEventListener("DOMContentLoaded", () => {
  const nommer = (zone, nom) => {
    zone.tabIndex = 0;
    zone.setAttribute("role", "region");
    zone.setAttribute("aria-label", `${nom} ${++rang}`);
  };
  let rang = 0;
  for (const zone of document.querySelectorAll(".bd-article pre")) nommer(zone, "Code ou sortie");
  for (const zone of document.querySelectorAll(".cell_output table, .pst-scrollable-table-container"))
    if (zone.tagName !== "TABLE") nommer(zone, "Tableau");
});
