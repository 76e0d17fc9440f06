#!/usr/bin/env bash
# Affiner un modèle par l'API d'OpenAI, avec curl seul : déposer, créer, attendre, converser.
#
#     bash affinage_heberge.sh cinquante.jsonl
#
# OPENAI_BASE_URL et OPENAI_API_KEY, que le client officiel lit aussi, disent à qui l'on parle.
set -euo pipefail

fichier=$1
modele=${2:-falcon-poche}
adresse=${OPENAI_BASE_URL:-http://127.0.0.1:8000/v1}
cle=${OPENAI_API_KEY:-la-cle-du-service}

appeler() { # CHEMIN, puis les options de curl
    curl --silent --show-error --fail-with-body -H "Authorization: Bearer $cle" "$adresse/$1" "${@:2}"
}

envoyer() { # CHEMIN CORPS
    appeler "$1" -H "Content-Type: application/json" -d "$2"
}

lire() { # l'expression à lire du JSON reçu, écrite en Python
    python3 -c "import json, sys; recu = json.load(sys.stdin); print($1)"
}

demander() { # MODÈLE
    question="Comment renouveler ma carte d’identité ?"
    envoyer chat/completions '{"model": "'"$1"'", "temperature": 0, "max_tokens": 80,
        "messages": [{"role": "user", "content": "'"$question"'"}]}' |
        lire "recu['choices'][0]['message']['content']"
}

depose=$(appeler files -F purpose=fine-tune -F "file=@$fichier" | lire "recu['id']")
affinage=$(envoyer fine_tuning/jobs '{"model": "'"$modele"'", "training_file": "'"$depose"'"}' |
    lire "recu['id']")
until etat=$(appeler "fine_tuning/jobs/$affinage" | lire "recu['status']") &&
    [[ $etat =~ ^(succeeded|failed|cancelled)$ ]]; do
    sleep 1
done
appeler "fine_tuning/jobs/$affinage/events?limit=5" |
    lire "'\n'.join(e['message'] for e in reversed(recu['data']))"
affine=$(appeler "fine_tuning/jobs/$affinage" | lire "recu['fine_tuned_model'] or ''")
if [[ $affine ]]; then
    echo "Avant : $(demander "$modele")"
    echo "Après : $(demander "$affine")"
fi
