# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Multi-label: several things in one picture, one map each
#
# Each class is a yes or no of its own, trained with `BCEWithLogitsLoss`. Which map belongs to which
# label, and does each lie on its own thing? To be able to tell, each picture here is two of the
# course's cells side by side: we know which half a label comes from.

# %%
import numpy as np
import torch
from torch import nn

import camwidgets as cw
from camwidgets.course import claim, load_crops
from camwidgets.pictures import heat_grid

# %%
rng = np.random.default_rng(0)


def pairs(split, count):
    crops = load_crops(split)
    left, right = rng.integers(0, len(crops), (2, count))
    images = np.concatenate([crops.images[left], crops.images[right]], axis=2)
    labels = np.zeros((count, 5), "float32")
    labels[np.arange(count), crops.labels[left]] = 1
    labels[np.arange(count), crops.labels[right]] = 1
    return images, torch.from_numpy(labels), crops.labels[left], crops.labels[right]


def tensor(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


names = load_crops("test").class_names
images, labels, _, _ = pairs("train", 1000)
print(images.shape, "labels of the first:", [names[c] for c in labels[0].nonzero()[:, 0]])

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
x, optimizer = tensor(images), torch.optim.Adam(model.parameters())
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, 7 * 40)
for _ in range(7):
    for batch in torch.randperm(len(x)).split(25):
        loss = nn.functional.binary_cross_entropy_with_logits(model(x[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
model.eval()
images, labels, left, right = pairs("test", 200)
x = tensor(images)
with torch.no_grad():
    said = model(x) > 0  # a logit of 0 is a probability of one half
agree = (said == labels.bool()).float().mean().item()
claim("It is right for more than three of four labels", agree > 0.75, agree)

# %% [markdown]
# ## A map per label
#
# `target=None` would ask for the highest logit alone. Here each true label gets a map: `target`
# is one class for all pictures, or one per picture. The score is the logit, not the sigmoid:
# where a label is sure, the sigmoid's gradient is close to nothing and the map is blank.

# %%
both = np.flatnonzero(left != right)
shown = both[:4]
heats = [[cw.grad_cam(model, x[[k]], target=int(c))[0] for c in (left[k], right[k])] for k in shown]
heat_grid(
    images[shown],
    heats,
    ["label of the left cell", "label of the right cell"],
    rows=[f"{names[left[k]]},\n{names[right[k]]}" for k in shown],
    alt="Four pictures of two cells side by side. The first map of each row asks for the class of "
    "the left cell, the second for that of the right one.",
)

# %% [markdown]
# ## Does each map lie on its own half?

# %%
on_own = []
for k in both:
    for c, half in ((left[k], slice(0, 64)), (right[k], slice(64, 128))):
        heat = cw.upsample(cw.grad_cam(model, x[[int(k)]], target=int(c)), (64, 128))[0]
        if heat.sum() > 0:
            on_own.append((heat[:, half].sum() / heat.sum()).item())
share = sum(on_own) / len(on_own)
claim("More heat lies on the cell that the label is about than on the other", share > 0.5, share)

# %% [markdown]
# One half would be the share of a map that knows nothing. Report such a number with your maps, not
# the four best pictures.
#
# ## In the Explorer
#
# `activation="sigmoid"` gives the bars the meaning that your training gave them; a softmax would
# make the labels compete.

# %%
explorer = cw.Explorer(
    model, list(images[shown]), names, activation="sigmoid", methods=["Grad-CAM"]
)
explorer

# %%
explorer.close()
