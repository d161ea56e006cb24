# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # My CNN, my folder: where does it look?
#
# You have a folder with one sub-folder per class and a network of your own. You want to see what it
# looks at, and whether that is what it should look at. Here both are small, so that this page runs
# in seconds; the lines that change for you are marked `# yours`.

# %%
import tempfile
from pathlib import Path

import cv2
import torch
from torch import nn

import camwidgets as cw
from camwidgets.course import claim, load_crops, load_image_folder
from camwidgets.pictures import heat_grid

# %% [markdown]
# ## A folder
#
# The course's drawn blood cells stand in for your photographs: we write some of them to a folder,
# as you would find them on a disk.

# %%
folder = Path(tempfile.mkdtemp()) / "cells"
crops = load_crops("train")
for k in range(0, len(crops), 2):
    path = folder / crops.class_names[crops.labels[k]] / f"{k:04d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), crops.images[k][..., ::-1])  # OpenCV writes BGR

# %%
pictures = load_image_folder(folder, size=64)  # yours
print(pictures.images.shape, pictures.class_names)

# %% [markdown]
# Files that are no pictures are named, none is lost in silence. `load_image` takes care of turned
# photographs, transparency and gray.
#
# ## A network
#
# A plain one: strides, batch norm, a head that flattens. Nothing in it knows about maps.


# %%
class MyCNN(nn.Module):  # yours
    def __init__(self, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5, stride=2, padding=2)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.norm2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 48, 3, padding=1)
        self.head = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48 * 64, classes))

    def forward(self, x):
        x = self.norm1(self.conv1(x)).relu()
        x = self.norm2(self.conv2(x)).relu()
        return self.head(self.conv3(x).relu())


def preprocess(image):  # yours: one picture, as people see it → what the network takes
    return (torch.from_numpy(image).permute(2, 0, 1) / 255 - 0.5) / 0.25


x = torch.stack([preprocess(image) for image in pictures.images])
y = torch.from_numpy(pictures.labels)
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
train, test = order[:500], order[500:]

# %%
torch.manual_seed(0)
model = MyCNN(len(pictures.class_names))
optimizer = torch.optim.Adam(model.parameters(), 2e-3)
for _ in range(6):
    for batch in train.split(50):
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
model.eval()
guess = model(x[test]).argmax(1)
right = (guess == y[test]).float().mean().item()
claim("It is right on more than half of 125 pictures it never saw", right > 0.5, right)

# %% [markdown]
# ## What it looks at
#
# Which layers can be asked? Those that still have positions. The last one speaks most about
# classes; earlier ones are sharper and speak less.

# %%
cw.layer_names(model, x[:1])

# %%
errors = test[guess != y[test]][:2]
correct = test[guess == y[test]][:2]
shown = torch.cat([correct, errors])
heats = [
    [cw.grad_cam(model, x[[k]], layer)[0] for layer in ("conv3", "conv2")] for k in shown.tolist()
]
said = model(x[shown]).argmax(1)
labels = [
    f"{pictures.class_names[y[k]]}\nsaid: {pictures.class_names[c]}"
    for k, c in zip(shown, said, strict=True)
]
heat_grid(
    pictures.images[shown],
    heats,
    ["conv3", "conv2"],
    rows=labels,
    alt="Four cells, two that the network got right and two that it got wrong, each with the "
    "Grad-CAM maps of its last two convolutions laid over it. Each row is named by the true class.",
)

# %% [markdown]
# The last two rows are errors: look at them first. A gallery of successes shows nothing.
#
# ## Move through all of it
#
# `preprocess` tells the Explorer how a picture becomes the network's input. It shows exactly what
# the network sees.

# %%
explorer = cw.Explorer(
    model, list(pictures.images[shown]), list(pictures.class_names), preprocess=preprocess
)
explorer

# %%
explorer.close()

# %% [markdown]
# ## Is it so?
#
# A map is a guess about the network. Cover the hottest patch and look whether the score falls more
# than it does for a patch elsewhere.


# %%
def covered(image, i, j, size=16):
    image = image.clone()
    i, j = (max(0, min(64 - size, v - size // 2)) for v in (i, j))
    image[:, i : i + size, j : j + size] = image.mean((1, 2), keepdim=True)
    return image


drops, others = [], []
for k in test[:60].tolist():
    c = int(model(x[[k]]).argmax())
    heat = cw.upsample(cw.grad_cam(model, x[[k]], "conv3", c), 64)[0]
    i, j = divmod(int(heat.argmax()), 64)
    before = model(x[[k]])[0, c].item()
    drops.append(before - model(covered(x[k], i, j)[None])[0, c].item())
    others.append(before - model(covered(x[k], (i + 32) % 64, j)[None])[0, c].item())
hot, cold = sum(drops) / len(drops), sum(others) / len(others)
claim("Covering the hottest patch lowers the score more than another patch", hot > cold, hot, cold)

# %% [markdown]
# If that sentence does not hold for your network, do not show its maps to anybody yet. Lesson 06
# has the baselines that a map must beat.
