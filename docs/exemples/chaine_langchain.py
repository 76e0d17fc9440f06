"""Affiner chez soi, puis interroger le modèle obtenu par une chaîne LangChain.

    pip install openai "langchain-openai<=1.5.1"
    python chaine_langchain.py cinquante.jsonl

L'affinage est celui d'à côté (``affinage_heberge.py``) : LangChain n'en sait pas demander. La chaîne
a trois maillons : une consigne à remplir, le modèle, la lecture de son texte.
"""

import sys

from affinage_heberge import affiner, client
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI


def batir(client, modele):
    """Une chaîne qui pose sa question au modèle servi sous ce nom."""
    consigne = ChatPromptTemplate.from_messages([("user", "Comment {demarche} ?")])
    llm = ChatOpenAI(
        model=modele,
        base_url=str(client.base_url),
        api_key=client.api_key,
        temperature=0,
        max_tokens=80,
    )
    return consigne | llm | StrOutputParser()


if __name__ == "__main__":
    affinage = affiner(client, sys.argv[1], "falcon-poche", suffix="langchain")
    if affinage.status == "succeeded":
        chaine = batir(client, affinage.fine_tuned_model)
        demarches = [{"demarche": "renouveler ma carte d’identité"}, {"demarche": "voter"}]
        for reponse in chaine.batch(demarches):
            print(reponse)
