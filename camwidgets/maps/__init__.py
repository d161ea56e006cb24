"""Class activation maps in plain PyTorch, one method of one paper a file, to be read.

`recording` runs a model and keeps what its layers give, without leaving a trace in it; `targets`
turns "which class?" into one score an image; `cam`, `grad_cam`, `guided` and `variants` are the
methods; `display` prepares a map for the eye.
"""

from .cam import cam
from .display import normalize, upsample
from .grad_cam import features_and_gradient, grad_cam
from .guided import guided_backprop, guided_grad_cam
from .recording import Recording, layer_names, record
from .variants import deconvnet, gradient, layer_cam, positive_grad_cam

__all__ = [
    "Recording",
    "cam",
    "deconvnet",
    "features_and_gradient",
    "grad_cam",
    "gradient",
    "guided_backprop",
    "guided_grad_cam",
    "layer_cam",
    "layer_names",
    "normalize",
    "positive_grad_cam",
    "record",
    "upsample",
]
