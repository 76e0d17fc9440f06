// Ouvre chaque page du site dans un Chromium sans tête : accessibilité (axe-core), requêtes
// sorties du site, liens internes, recherche, PDF. Large et étroit, clair et sombre.
//
//   npm ci --prefix outils && node outils/verifier_site.mjs [images/ [motif des pages]]
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync } from "node:fs";
import { extname, join, relative } from "node:path";

const exiger = createRequire(process.env.OUTILS_NODE ? join(process.env.OUTILS_NODE, "x.js") : import.meta.url);
const puppeteer = exiger("puppeteer-core");
const axe = readFileSync(exiger.resolve("axe-core/axe.min.js"), "utf8");

const SITE = "build/site";
const IMAGES = process.argv[2];
const MOTIF = new RegExp(process.argv[3] ?? "");
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };
const VUES = [
  { nom: "large-clair", width: 1280, height: 900, theme: "light" },
  { nom: "etroit-sombre", width: 360, height: 740, theme: "dark" },
  { nom: "large-sombre", width: 1280, height: 900, theme: "dark" },
];
const CHERCHES = ["jeton", "LoRA", "fertilité"];

const pages = [];
(function parcourir(dossier) {
  for (const nom of readdirSync(dossier)) {
    const chemin = join(dossier, nom);
    if (statSync(chemin).isDirectory()) { if (!nom.startsWith("_")) parcourir(chemin); }
    else if (nom.endsWith(".html") && MOTIF.test(chemin)) pages.push(relative(SITE, chemin));
  }
})(SITE);

const serveur = createServer((requete, reponse) => {
  const chemin = join(SITE, decodeURIComponent(new URL(requete.url, "http://site").pathname));
  if (!existsSync(chemin) || statSync(chemin).isDirectory()) { reponse.writeHead(404).end(); return; }
  reponse.writeHead(200, { "content-type": TYPES[extname(chemin)] ?? "application/octet-stream" });
  reponse.end(readFileSync(chemin));
}).listen(0, "127.0.0.1");
await new Promise((pret) => serveur.once("listening", pret));
const origine = `http://127.0.0.1:${serveur.address().port}/`;

const chromium = ["/usr/bin/chromium", "/usr/bin/google-chrome", "/usr/bin/chromium-browser"].find(existsSync);
const navigateur = await puppeteer.launch({ executablePath: chromium, args: ["--no-sandbox"] });
const fautes = [];
const liens = new Set();
if (IMAGES) mkdirSync(IMAGES, { recursive: true });

for (const vue of VUES) {
  const onglet = await navigateur.newPage();
  await onglet.setViewport({ width: vue.width, height: vue.height });
  await onglet.evaluateOnNewDocument((theme) => {
    localStorage.setItem("mode", theme);
    localStorage.setItem("theme", theme);
  }, vue.theme);
  onglet.on("request", (requete) => {
    if (!requete.url().startsWith(origine) && !/^(data|blob|about):/.test(requete.url()))
      fautes.push(`${vue.nom} : requête hors du site, ${requete.url()}`);
  });
  onglet.on("response", (r) => { if (r.status() >= 400) fautes.push(`${vue.nom} : ${r.status()} ${r.url()}`); });
  onglet.on("pageerror", (e) => fautes.push(`${vue.nom} : erreur de script, ${e.message}`));
  for (const page of pages) {
    await onglet.goto(origine + page, { waitUntil: "load" });
    await onglet.evaluate(axe);
    const resultat = await onglet.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
    for (const v of resultat.violations)
      fautes.push(`${vue.nom} ${page} : ${v.id}, ${v.nodes.length} fois, ${v.nodes[0].html.slice(0, 140)} | ${v.nodes[0].failureSummary.split("\n").pop().slice(0, 160)}`);
    const large = await onglet.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (large > 2) fautes.push(`${vue.nom} ${page} : déborde de ${large} pixels`);
    for (const l of await onglet.$$eval("a[href]", (as) => as.map((a) => a.href)))
      if (l.startsWith(origine)) liens.add(l);
    if (IMAGES && !page.startsWith("api/fabrique."))
      await onglet.screenshot({ path: join(IMAGES, `${page.replace(/\W/g, "_")}-${vue.nom}.png`) });
  }
  await onglet.close();
}

const onglet = await navigateur.newPage();
for (const mot of CHERCHES) {
  await onglet.goto(`${origine}search.html?q=${encodeURIComponent(mot)}`, { waitUntil: "load" });
  const trouve = await onglet
    .waitForSelector("#search-results ul.search li", { timeout: 15000 }).then(() => true, () => false);
  if (!trouve) fautes.push(`la recherche ne trouve pas « ${mot} »`);
}
const ancres = new Map();
for (const lien of liens) {
  const [page, ancre] = decodeURIComponent(lien.slice(origine.length)).split("#");
  const fichier = join(SITE, page.split("?")[0] || "index.html");
  if (!existsSync(fichier)) { fautes.push(`lien mort : ${page}`); continue; }
  if (!ancre || !fichier.endsWith(".html")) continue;
  if (!ancres.has(fichier))
    ancres.set(fichier, new Set([...readFileSync(fichier, "utf8").matchAll(/\bid="([^"]+)"/g)].map((m) => m[1])));
  if (!ancres.get(fichier).has(ancre)) fautes.push(`ancre absente : ${page}#${ancre}`);
}
await navigateur.close();
serveur.close();
for (const faute of fautes) console.log(faute);
console.log(`${pages.length} pages, ${VUES.length} vues, ${liens.size} liens internes : ${fautes.length} faute(s).`);
process.exit(fautes.length ? 1 : 0);
