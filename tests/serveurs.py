"""De vrais serveurs, parfois fautifs, au protocole d'OpenAI."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fabrique.evaluation.juges import JugeDistant


def protocole(texte: str) -> bytes:
    """Une réponse complète, au format d'OpenAI."""
    message = {"role": "assistant", "content": texte}
    choix = [{"index": 0, "finish_reason": "stop", "message": message}]
    objet = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": choix}
    return json.dumps(objet).encode()


class Serveur:
    """Un serveur HTTP local : ``repondre`` reçoit le traitement en cours et le corps lu."""

    def __init__(self, repondre: Callable[[BaseHTTPRequestHandler, dict], None]) -> None:
        self.recus: list[dict] = []
        self.fini = threading.Event()
        serveur = self

        class Traitement(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                corps = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                serveur.recus.append(corps)
                repondre(self, corps)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Traitement)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def adresse(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def juge(self, **options) -> JugeDistant:
        return JugeDistant(self.adresse, "m", variable_de_cle="CLE_DE_TEST", **options)

    def mourir(self) -> None:
        self.fini.set()
        self.http.shutdown()
        self.http.server_close()


def envoyer(
    traitement: BaseHTTPRequestHandler, octets: bytes, code: int = 200, longueur=None
) -> None:
    traitement.send_response(code)
    traitement.send_header("Content-Type", "application/json")
    traitement.send_header("Content-Length", str(longueur or len(octets)))
    traitement.end_headers()
    traitement.wfile.write(octets)


def qui_dit(texte: Callable[[dict], str]) -> Callable[[BaseHTTPRequestHandler, dict], None]:
    """Un serveur en bonne santé, qui écrit ``texte(corps)``."""
    return lambda traitement, corps: envoyer(traitement, protocole(texte(corps)))
