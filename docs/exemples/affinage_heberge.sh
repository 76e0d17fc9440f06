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

appeler() { # CHEMIN, puis les options de curl ; un refus se lit, et arrête le programme
    local dit
    dit=$(curl --silent --show-error --fail-with-body \
        -H "Authorization: Bearer $cle" "$adresse/$1" "${@:2}") || { echo "$dit" >&2; return 1; }
    echo "$dit"
}

envoyer() { # CHEMIN CORPS
    appeler "$1" -H "Content-Type: application/json" -d "$2"
}

lire() { # ce qu'on veut de l'objet « recu », en Python
    python3 -c "import json, sys; recu = json.load(sys.stdin); print($1)" <<<"$recu"
}

demander() { # MODÈLE
    question="Comment renouveler ma carte d’identité ?"
    recu=$(envoyer chat/completions '{"model": "'"$1"'", "temperature": 0, "max_tokens": 80,
        "messages": [{"role": "user", "content": "'"$question"'"}]}')
    lire "recu['choices'][0]['message']['content']"
}

recu=$(appeler files -F purpose=fine-tune -F "file=@$fichier")
depose=$(lire "recu['id']")
recu=$(envoyer fine_tuning/jobs '{"model": "'"$modele"'", "training_file": "'"$depose"'"}')
affinage=$(lire "recu['id']")
etat=queued
until [[ $etat =~ ^(succeeded|failed|cancelled)$ ]]; do
    sleep 1
    recu=$(appeler "fine_tuning/jobs/$affinage")
    etat=$(lire "recu['status']")
done
affine=$(lire "recu['fine_tuned_model'] or ''")
recu=$(appeler "fine_tuning/jobs/$affinage/events?limit=5")
lire "'\n'.join(evenement['message'] for evenement in reversed(recu['data']))"
if [[ $affine ]]; then
    avant=$(demander "$modele")
    apres=$(demander "$affine")
    echo "Avant : $avant"
    echo "Après : $apres"
fi
