# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Segmentation and detection: why this object, and not the one beside it?
#
# The output is a mask or a list of boxes, not one score per class. A map needs one number per
# picture; you choose it. Where a network speaks about places, it should be about a place.

# %%
import numpy as np
import torch
from torch import nn

import camwidgets as cw
from camwidgets.course import claim, load_crops, load_fields, to_tensor
from camwidgets.pictures import heat_grid

# %% [markdown]
# ## A network that marks parasites
#
# It learns on crops of one cell and, having no head that fixes the size, runs on whole fields.

# %%
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 16, 5, stride=2, padding=2),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, stride=2, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 32, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(32, 1, 1),
    nn.Upsample(scale_factor=4, mode="bilinear"),
)
train = load_crops("train")
x, masks = to_tensor(train.images), torch.from_numpy(train.masks).float()[:, None]
optimizer = torch.optim.Adam(model.parameters(), 5e-3)
for _ in range(8):
    for batch in torch.randperm(len(x)).split(50):
        loss = nn.functional.binary_cross_entropy_with_logits(model(x[batch]), masks[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
model.eval()
fields = load_fields("test")
several = [k for k in range(len(fields)) if fields.counts[k] >= 2][:12]
x = to_tensor(fields.images[several])
with torch.no_grad():
    marked = model(x)[:, 0] > 0
true = torch.from_numpy(fields.parasites[several])
overlap = ((marked & true).sum() / (marked | true).sum()).item()
claim("Marked and true pixels overlap by more than a quarter", overlap > 1 / 4, overlap)

# %% [markdown]
# ## One number about one object
#
# The score: the mean logit over one infected cell. A target is a function of the model's output
# that gives one number per picture.


# %%
def mean_over(region):
    return lambda output: output[:, 0, torch.from_numpy(region)].mean(1)


def infected(k):
    return [1 + n for n in np.flatnonzero(fields.cell_classes[k])][:2]


layer = "7"  # the last map before the mask
rows, heats, shares = [], [], {"Grad-CAM": [], "LayerCAM": []}
for n, k in enumerate(several):
    heats_here = []
    for cell in infected(k):
        region = fields.cells[k] == cell
        for name, method in (("Grad-CAM", cw.grad_cam), ("LayerCAM", cw.layer_cam)):
            heat = method(model, x[[n]], layer, mean_over(region))
            heats_here.append(cw.normalize(heat)[0])  # each on its own scale
            big = cw.upsample(heat, 128)[0]
            if big.sum() > 0:
                shares[name].append((big[torch.from_numpy(region)].sum() / big.sum()).item())
    heats.append(heats_here)
shares = {name: sum(values) / len(values) for name, values in shares.items()}

# %%
heat_grid(
    fields.images[several[:3]],
    heats[:3],
    ["Grad-CAM, one cell", "LayerCAM, same cell", "Grad-CAM, another", "LayerCAM, another"],
    masks=fields.parasites[several[:3]],
    alt="Three fields of several cells. For one infected cell and then for another: Grad-CAM, "
    "whose heat lies on the parasites of all cells alike, and LayerCAM, whose heat keeps to the "
    "cell that was asked about.",
)

# %%
claim(
    "LayerCAM keeps more of its heat in the cell that was asked about than Grad-CAM",
    shares["LayerCAM"] > shares["Grad-CAM"],
    shares["LayerCAM"],
    shares["Grad-CAM"],
)

# %% [markdown]
# Grad-CAM averages the gradient over all positions before it weights the channels. With a score
# about one place, that place is lost in the average: the map shows where *this kind of thing* is
# anywhere. LayerCAM (Jiang et al. 2021) and HiResCAM (Draelos and Carin 2020) keep the gradient of
# each position. Use them for masks and boxes.
#
# ## A detector
#
# torchvision's detectors give a list with boxes, scores and labels per picture. **The weights here
# are random**, so the boxes and the map mean nothing; the calls are those of a trained one.

# %%
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

torch.manual_seed(0)
detector = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=6)
for module in detector.modules():  # in place of a training: batch norms see a few pictures once
    if isinstance(module, nn.BatchNorm2d):
        module.momentum = None
with torch.no_grad():
    detector.head(list(detector.backbone(cw.upsample(x[:4], 320)).values()))
detector.eval()
pictures = cw.upsample(x[:1], 320)
found = detector(pictures)[0]
print({key: tuple(value.shape) for key, value in found.items()})

# %% [markdown]
# Simple, but after the softmax and after other boxes were thrown away: the score of a box.


# %%
def box_score(n):
    return lambda output: torch.stack([found["scores"][n] for found in output])


layer = "backbone.features.0"  # every box comes through here; deeper layers are missed by some
heat = cw.grad_cam(detector, pictures, layer, box_score(0))
claim("The box has a map", heat.max() > 0, f"{tuple(heat.shape)}")

# %% [markdown]
# Better: the logit behind that box. A small module hands out what the heads gave, and the box that
# you mean is the anchor that lies best on it.


# %%
class Heads(nn.Module):
    """images → {"cls_logits": (N, anchors, classes), "bbox_regression": (N, anchors, 4)}"""

    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def forward(self, images):
        images, _ = self.detector.transform(list(images))
        features = list(self.detector.backbone(images.tensors).values())
        return self.detector.head(features)


heads = Heads(detector)
label = int(found["labels"][0])
with torch.no_grad():
    anchor = int(heads(pictures)["cls_logits"].softmax(2)[0, :, label].argmax())
heat = cw.layer_cam(
    heads, pictures, f"detector.{layer}", lambda output: output["cls_logits"][:, anchor, label]
)
claim("Its logit has one too", heat.max() > 0, f"anchor {anchor}")

# %% [markdown]
# For a regression of the box itself, ask `output["bbox_regression"][:, anchor, 2]`: what widens it?
