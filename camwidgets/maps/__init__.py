"""Class activation maps in plain PyTorch, one method of one paper a file, to be read.

| method | L^c at a layer A, with g = ∂y^c/∂A | equal to another |
|---|---|---|
| `cam` | Σ_k w_k A^k, the head's own weights | |
| `grad_cam` | ReLU(Σ_k mean(g^k) A^k) | `cam` / (h·w) under GAP + linear, `relu=False` |
| `hires_cam` | ReLU(Σ_k g^k ∘ A^k) | `grad_cam` where g^k is the same at all positions: GAP |
| `layer_cam` | ReLU(Σ_k ReLU(g^k) ∘ A^k) | under GAP, A ≥ 0: `positive_grad_cam` if no A^k is 0 |
| `grad_cam_plus_plus` | ReLU(Σ_k w_k A^k), w_k = Σ α ReLU(g^k) | |
| `score_cam` | ReLU(Σ_k α_k A^k), α from masked images | no gradient, if the layer is named |
| `eigen_cam` | ReLU(A V_1) | the same for every class |
| `positive_grad_cam` | ReLU(Σ_k mean(ReLU(g^k)·1[A^k>0]) A^k) | |
| `gradient`, `deconvnet`, `guided_backprop` | at the image: ∂y^c/∂x by three rules | |
| `guided_grad_cam` | `grad_cam`, upsampled, × `guided_backprop` | |

`double` makes what runs in the model's place, so that the model is never touched; `recording` runs
it and keeps what its layers give, `layout` says which of that are maps, `graph` where a score comes
from, `targets` turns "which class?" into one score an image; `display` prepares a map for the eye.
A function named `…_of` reads a method from a `Recording`, for all its layers at once.
"""

from .cam_2016 import cam, cam_of
from .display import normalize, upsample
from .double import stand_in
from .eigen_cam_2020 import eigen_cam, eigen_cam_of
from .grad_cam_2017 import features_and_gradient, grad_cam, grad_cam_of
from .grad_cam_pp_2018 import grad_cam_plus_plus, grad_cam_plus_plus_of
from .guided_2015 import (
    deconvnet,
    deconvnet_of,
    gradient,
    gradient_of,
    guided_backprop,
    guided_backprop_of,
    guided_grad_cam,
)
from .hires_cam_2020 import hires_cam, hires_cam_of
from .layer_cam_2021 import layer_cam, layer_cam_of
from .positive_weights import positive_grad_cam, positive_grad_cam_of
from .recording import Recording, layer_names, record, run, trace
from .score_cam_2020 import score_cam

__all__ = [
    "Recording",
    "cam",
    "cam_of",
    "deconvnet",
    "deconvnet_of",
    "eigen_cam",
    "eigen_cam_of",
    "features_and_gradient",
    "grad_cam",
    "grad_cam_of",
    "grad_cam_plus_plus",
    "grad_cam_plus_plus_of",
    "gradient",
    "gradient_of",
    "guided_backprop",
    "guided_backprop_of",
    "guided_grad_cam",
    "hires_cam",
    "hires_cam_of",
    "layer_cam",
    "layer_cam_of",
    "layer_names",
    "normalize",
    "positive_grad_cam",
    "positive_grad_cam_of",
    "record",
    "run",
    "score_cam",
    "stand_in",
    "trace",
    "upsample",
]
