"""Corrige la typographie d'un Markdown : ``python -m outils.typographie docs/lexique.md …``.

Espaces insécables devant ; : ? ! et dans « », apostrophe courbe. Le code, les adresses, les
balises et les filets de tableau restent tels quels.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

#: Ce qui n'est pas de la prose ; une seule parenthèse capturante, que ``split`` rend.
_TEL_QUEL = re.compile(
    r"(^[ \t]*```.*?^[ \t]*```[ \t]*$|`[^`\n]+`|<!--.*?-->|</?[a-zA-Z][^>]*>|\]\([^)\s]*\)"
    r"|https?://[^\s>)»]+|^[ \t]*\|[ \t:|-]+\|[ \t]*$|\$[^$\n]+\$)",
    re.M | re.S,
)
REGLES = (
    (re.compile(r"[ \u202f]+(?=[;?!:](?![\w-]))"), "\u00a0"),
    (re.compile(r"«[ \u202f]*(?=\S)"), "«\u00a0"),
    (re.compile(r"(?<=\S)[ \u202f]+»"), "\u00a0»"),
    (re.compile(r"(?<=[^\W\d_])'(?=[\[*_]*[^\W\d_])"), "’"),
)


def corriger(markdown: str) -> str:
    """Le même texte, bien espacé."""
    morceaux = _TEL_QUEL.split(markdown)
    for rang in range(0, len(morceaux), 2):
        for motif, juste in REGLES:
            morceaux[rang] = motif.sub(juste, morceaux[rang])
    return "".join(morceaux)


if __name__ == "__main__":
    for nom in sys.argv[1:]:
        Path(nom).write_text(corriger(Path(nom).read_text("utf-8")), "utf-8")
