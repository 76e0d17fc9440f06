"""Affiner un modèle par l'API d'OpenAI, comme en 2023 : déposer, créer, attendre, converser.

    pip install openai
    python affinage_heberge.py cinquante.jsonl

Ce programme n'emploie que le client officiel. Pour qu'il parle à « fabrique servir » plutôt qu'à une
machine lointaine, une ligne change : celle de l'adresse.
"""

import sys
import time

from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="la-cle-du-service")

#: Les états où un affinage ne bouge plus.
FINIS = ("succeeded", "failed", "cancelled")


def affiner(client, fichier, modele, **options):
    """Dépose des exemples, demande un affinage et l'attend ; rend l'affinage fini."""
    with open(fichier, "rb") as exemples:
        depose = client.files.create(file=exemples, purpose="fine-tune")
    affinage = client.fine_tuning.jobs.create(training_file=depose.id, model=modele, **options)
    while affinage.status not in FINIS:
        time.sleep(1)
        affinage = client.fine_tuning.jobs.retrieve(affinage.id)
    return affinage


def demander(client, modele, question):
    """Pose une question à un modèle, affiné ou non."""
    reponse = client.chat.completions.create(
        model=modele,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_tokens=80,
    )
    return reponse.choices[0].message.content


if __name__ == "__main__":
    question = "Comment renouveler ma carte d’identité ?"
    affinage = affiner(client, sys.argv[1], "falcon-poche", suffix="demarches")
    for evenement in reversed(client.fine_tuning.jobs.list_events(affinage.id, limit=5).data):
        print(evenement.message)
    if affinage.status == "succeeded":
        print("Avant :", demander(client, "falcon-poche", question))
        print("Après :", demander(client, affinage.fine_tuned_model, question))
