"""How good is a map? Localisation (masks), faithfulness (perturbation), sanity (randomisation)."""

from .faithfulness import area, deletion, impute, insertion, occlusion, road
from .localisation import (
    bootstrap_interval,
    box,
    box_iou,
    centre_map,
    choose_threshold,
    edge_map,
    mass,
    pointing_hit,
    rank_accuracy,
    resolution_ceiling,
    uniform_map,
    wilson,
)
from .sanity import cascading, independent, spearman, ssim

__all__ = [
    "area",
    "bootstrap_interval",
    "box",
    "box_iou",
    "cascading",
    "centre_map",
    "choose_threshold",
    "deletion",
    "edge_map",
    "impute",
    "independent",
    "insertion",
    "mass",
    "occlusion",
    "pointing_hit",
    "rank_accuracy",
    "resolution_ceiling",
    "road",
    "spearman",
    "ssim",
    "uniform_map",
    "wilson",
]
