"""Ce qui corrige les poids d'un modèle neuf : Muon, AdamW, et le taux au fil des pas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import FalconForCausalLM

from fabrique.entrainement.reglages import ReglagesPreentrainement


def optimiseurs(
    modele: FalconForCausalLM, learning_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon pour les matrices des blocs, AdamW pour le reste (plongements, normalisations).

    Seules les matrices des blocs décroissent.

    Source : Jordan et al., 2024 (Muon) ; l'échelle « match_rms_adamw » (Liu et al., 2025,
    arXiv:2502.16982) donne aux deux le même taux d'apprentissage.
    """
    matrices = [p for n, p in modele.named_parameters() if ".h." in n and p.ndim == 2]
    connues = {id(p) for p in matrices}
    reste = [p for p in modele.parameters() if id(p) not in connues]
    return [
        Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(reste, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class Muon(torch.optim.Muon):
    """Muon, calculé dans le type des gradients quand la machine ne fait qu'imiter le bf16.

    torch le calcule toujours en bf16, que la plupart des processeurs imitent, bien plus lentement
    qu'ils ne calculent en fp32. Même algorithme, mêmes réglages, mêmes états.
    """

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        """Fait un pas ; ``closure`` est celle de torch."""
        if bf16_natif(self.param_groups[0]["params"][0].device.type):
            return super().step(closure)
        for groupe in self.param_groups:
            for poids in (p for p in groupe["params"] if p.grad is not None):
                elan = self.state[poids].setdefault("momentum_buffer", torch.zeros_like(poids))
                elan.lerp_(poids.grad, 1 - groupe["momentum"])
                direction = orthogonaliser(
                    poids.grad.lerp(elan, groupe["momentum"]),
                    groupe["ns_coefficients"],
                    groupe["ns_steps"],
                )
                poids.mul_(1 - groupe["lr"] * groupe["weight_decay"])
                # « match_rms_adamw » : l'échelle d'AdamW. Source : arXiv:2502.16982.
                echelle = 0.2 * math.sqrt(max(poids.shape))
                poids.add_(direction, alpha=-groupe["lr"] * echelle)
        return None


def orthogonaliser(
    gradient: torch.Tensor, coefficients: tuple[float, float, float], tours: int
) -> torch.Tensor:
    """Ramène vers 1 les valeurs singulières d'une matrice, par l'itération de Newton-Schulz.

    Source : Jordan et al., 2024 (Muon).
    """
    a, b, c = coefficients
    couchee = gradient.T if gradient.shape[0] > gradient.shape[1] else gradient
    x = couchee / couchee.norm().clamp(min=1e-7)
    for _ in range(tours):
        carre = x @ x.T
        x = a * x + (b * carre + c * carre @ carre) @ x
    return x.T if couchee is not gradient else x


def bf16_natif(appareil: str) -> bool:
    """Vrai si l'appareil calcule en bf16 au lieu de l'imiter, bien plus lentement que le fp32."""
    if appareil == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def taux(pas: int, reglages: ReglagesPreentrainement) -> float:
    """Part du taux maximal au pas donné : montée, plateau, descente en ligne droite.

    Le plateau permet de prolonger un entraînement sans le recommencer.
    Source : Hu et al., 2024 (MiniCPM, arXiv:2404.06395).
    """
    reste = (reglages.pas - pas) / max(1, reglages.pas * reglages.part_descente)
    return max(0.0, min(1.0, (pas + 1) / reglages.echauffement, reste))
