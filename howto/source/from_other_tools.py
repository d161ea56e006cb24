# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # From pytorch-grad-cam, torchcam and captum: the same call here, and why a number differs
#
# You have code with one of them. Here is each call beside ours, on one network that the course
# trains, with the largest difference between the two. Where results differ by more than rounding,
# the page says who computes what.

# %%
import importlib.util

needed = {"pytorch_grad_cam": "grad-cam", "torchcam": "torchcam", "captum": "captum"}
missing = [package for name, package in needed.items() if importlib.util.find_spec(name) is None]
if missing:
    raise ImportError(
        f"This page also needs {', '.join(missing)}: %pip install -r requirements.txt"
    )

import copy
import warnings

import torch
from captum.attr import GuidedBackprop, LayerGradCam
from pytorch_grad_cam import GradCAM, GuidedBackpropReLUModel, HiResCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchcam.methods import CAM
from torchcam.methods import GradCAM as TorchcamGradCAM

import camwidgets as cw
from camwidgets.course import claim, fit, load_crops, to_tensor
from camwidgets.pictures import heat_row

warnings.filterwarnings("ignore", module="captum")

# %%
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 16, 5, stride=2, padding=2),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, stride=2, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3, padding=1),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(64, 5),
)
train, test = load_crops("train"), load_crops("test")
_ = fit(model, to_tensor(train.images), torch.from_numpy(train.labels), epochs=4)
picks = [130, 230, 330, 430]
x, c, last = to_tensor(test.images[picks]), 3, model[8]


def difference(a, b):
    """The largest difference, as a share of the larger map's maximum."""
    a, b = (torch.as_tensor(t).detach().float() for t in (a, b))
    return float((a - b).abs().max() / max(a.abs().max(), b.abs().max()))


# %% [markdown]
# ## pytorch-grad-cam
#
# | there | here |
# |---|---|
# | `GradCAM(model, [layer])(x, [ClassifierOutputTarget(c)])` | `cw.grad_cam(model, x, layer, c)` |
# | `target_layers=[model.layer4[-1]]` | the module, or its name: `"layer4.1"` |
# | a target class with `__call__` | any function of the whole output: one score per image |
# | `reshape_transform` for transformers | not needed; there for an order of its own |
# | `show_cam_on_image(image, cam)` | `cw.overlay(image, cam)` |
#
# What comes back there is enlarged to the picture and scaled from its minimum to its maximum, map
# by map. So two maps cannot be compared, and a constant map comes out blank. Ours is raw, at the
# layer's resolution. To get theirs from ours: enlarge, then scale.

# %%
targets = [ClassifierOutputTarget(c)] * len(x)
peer = copy.deepcopy(model)
with GradCAM(model=peer, target_layers=[peer[8]]) as method:
    theirs = torch.from_numpy(method(input_tensor=x, targets=targets))
ours = cw.grad_cam(model, x, last, c)


def stretched(maps):
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-7)


apart = difference(stretched(cw.upsample(stretched(ours), 64)), theirs)
claim("The same map, once ours is scaled and enlarged as theirs", apart < 0.01, apart)

# %% [markdown]
# What stays is their first scaling, before the enlarging: `1e-7` is added to the maximum.
#
# **A step in place right after the layer.** Many networks run `ReLU(inplace=True)` behind a batch
# norm. A hook that keeps the batch norm's output keeps what the ReLU has overwritten. Here what
# travels on is a copy, so the map is that of the layer itself.

# %%
inplace = copy.deepcopy(model)
inplace[8] = nn.ReLU(inplace=True)
before = stretched(cw.upsample(stretched(cw.grad_cam(model, x, model[7], c)), 64))
peer = copy.deepcopy(inplace)
with GradCAM(model=peer, target_layers=[peer[7]]) as method:
    theirs = torch.from_numpy(method(input_tensor=x, targets=targets))
here = stretched(cw.upsample(stretched(cw.grad_cam(inplace, x, inplace[7], c)), 64))
claim("In place or not, our map is the same", difference(here, before) < 1e-3)
claim(
    "Theirs is another one by more than a twentieth",
    difference(theirs, before) > 0.05,
    difference(theirs, before),
)

# %% [markdown]
# **Guided backpropagation** there replaces modules of class `ReLU`. A network that calls `F.relu`
# keeps its plain gradients, without a word.


# %%
class Called(nn.Module):
    """The same network with its ReLUs called as functions."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(m for m in layers if not isinstance(m, nn.ReLU))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
            x = x.relu() if isinstance(layer, nn.BatchNorm2d) else x
        return x


called = Called(copy.deepcopy(model)).eval()
ours = cw.guided_backprop(called, x[:1], c)
torch.testing.assert_close(ours, cw.guided_backprop(model, x[:1], c))
peer = GuidedBackpropReLUModel(model=copy.deepcopy(model), device="cpu")
theirs = torch.from_numpy(peer(x[:1].clone(), c)).permute(2, 0, 1)
claim("With ReLU modules: the same", difference(theirs, ours[0]) < 1e-4)
peer = GuidedBackpropReLUModel(model=copy.deepcopy(called), device="cpu")
theirs = torch.from_numpy(peer(x[:1].clone(), c)).permute(2, 0, 1)
plain = cw.maps.gradient(called, x[:1], c)[0]
claim(
    "With F.relu, theirs is the plain gradient and ours still guided",
    difference(theirs, plain) < 1e-4 < difference(ours[0], plain),
    difference(ours[0], theirs),
)

# %% [markdown]
# ## torchcam
#
# | there | here |
# |---|---|
# | `e = GradCAM(model, "8")`, `y = model(x)`, `e(c, y)` | `cw.grad_cam(model, x, "8", c)` |
# | `CAM(model, "8", "11")` | `cw.cam(model, x, c)`: finds its head and checks it |
# | `normalized=False` | always |
# | `overlay_mask(image, map)` | `cw.overlay(image, map)` |
#
# It hooks your model until you say `remove_hooks()`, and its scores need a graph: frozen parameters
# or `torch.no_grad()` make it stop. With `normalized=False` the numbers are ours.

# %%
peer = copy.deepcopy(model)
with TorchcamGradCAM(peer, "8") as extractor:
    scores = peer(x)
    (theirs,) = extractor([c] * len(x), scores, normalized=False)
ours = cw.grad_cam(model, x, last, c)
claim("Grad-CAM: the same", difference(theirs, ours) < 1e-4)

peer = copy.deepcopy(model)
with CAM(peer, "8", "11") as extractor:
    scores = peer(x)
    (theirs,) = extractor([c] * len(x), scores, normalized=False)
signed = cw.cam(model, x, c)
claim("CAM: the same, up to its ReLU", difference(theirs.relu(), signed.relu()) < 1e-4)

# %% [markdown]
# ## captum
#
# | there | here |
# |---|---|
# | `LayerGradCam(model, layer).attribute(…)` | `cw.grad_cam(model, x, layer, c, relu=False)` |
# | `attr_dim_summation=True` (default) | always |
# | `relu_attributions=True` | `relu=True`, our default |
# | `LayerAttribution.interpolate` (nearest) | `cw.upsample` (bilinear) |
# | `GuidedBackprop(model).attribute(x, c)` | `cw.guided_backprop(model, x, c)` |
# | `GuidedGradCam` (enlarged by nearest) | `cw.guided_grad_cam` (bilinear) |
# | `target=(row, column)` | a function of the output |

# %%
peer = LayerGradCam(model, last)
theirs = peer.attribute(x, c, attr_dim_summation=True)[:, 0]
claim("Grad-CAM: the same", difference(theirs, cw.grad_cam(model, x, last, c, relu=False)) < 1e-4)
theirs = GuidedBackprop(model).attribute(x.clone(), c)
claim("Guided backprop: the same", difference(theirs, cw.guided_backprop(model, x, c)) < 1e-4)

# %% [markdown]
# **A block whose input is shared.** In a residual block that begins with a ReLU, the skip path
# takes the same tensor as the ReLU. A rule that hangs on the tensor clips the skip path too; ours
# acts on the ReLU in the graph.


# %%
class PreActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu, self.conv = nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return x + self.conv(self.relu(x))


torch.manual_seed(1)
residual = nn.Sequential(
    nn.Conv2d(3, 8, 3), PreActivation(), PreActivation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    nn.Linear(8, 5),
).eval()  # fmt: skip
ours = cw.guided_backprop(residual, x, c)
theirs = GuidedBackprop(copy.deepcopy(residual)).attribute(x.clone(), c)


def by_hand(module, x):
    """The rule written out: a ReLU that lets only positive gradients through."""

    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            context.save_for_backward(x)
            return x.relu()

        @staticmethod
        def backward(context, gradient):
            return gradient.clamp(min=0) * (context.saved_tensors[0] > 0)

    first, one, two, *rest = module
    x = x.clone().requires_grad_()
    y = first(x)
    for block in (one, two):
        y = y + block.conv(Guided.apply(y))
    for layer in rest:
        y = layer(y)
    return torch.autograd.grad(y[:, c].sum(), x)[0]


rule = by_hand(residual, x)
claim("Ours follows the rule written out by hand", difference(ours, rule) < 1e-4)
claim("captum's does not", difference(theirs, rule) > 0.05, difference(theirs, rule))

# %% [markdown]
# ## HiResCAM and LayerCAM
#
# They keep the gradient of each place. `cw.hires_cam` and `cw.layer_cam` are called like
# `cw.grad_cam`; under global average pooling HiResCAM is Grad-CAM.

# %%
peer = copy.deepcopy(model)
with HiResCAM(model=peer, target_layers=[peer[8]]) as method:
    theirs = torch.from_numpy(method(input_tensor=x, targets=targets))
ours = cw.hires_cam(model, x, last, c)
torch.testing.assert_close(ours, cw.grad_cam(model, x, last, c), atol=1e-6, rtol=1e-4)
apart = difference(stretched(cw.upsample(stretched(ours), 64)), theirs)
claim("HiResCAM: the same, scaled as theirs", apart < 0.01, apart)

# %%
heat_row(
    test.images[picks[2]],
    [cw.grad_cam(model, x, last, k)[2] for k in (1, 2, 3)],
    ["ring", "trophozoite", "schizont"],
    alt="One cell and its Grad-CAM maps for three classes on one scale, with a colour bar: raw "
    "values can be compared, those scaled map by map cannot.",
)

# %% [markdown]
# That last picture is why maps are kept raw here: three classes on one scale.
