# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A regression: what pushes the number up, what pushes it down?
#
# Your network gives one number: a count, an age, an area. There is no class to ask for, and a ReLU
# on the map would hide half of the answer. Here the number is how much of a picture is parasite, in
# percent, on the course's drawn cells.

# %%
import torch
from torch import nn

import camwidgets as cw
from camwidgets.course import claim, fit, load_crops, to_tensor
from camwidgets.pictures import heat_grid


# %%
class Area(nn.Module):
    """images (N, 3, H, W) → one number per image, (N,)"""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(32, 1)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))[:, 0]


train, test = load_crops("train"), load_crops("test")
x, target = to_tensor(test.images), torch.tensor(100 * test.masks.mean((1, 2))).float()
torch.manual_seed(0)
model = Area()
history = fit(
    model,
    to_tensor(train.images),
    torch.tensor(100 * train.masks.mean((1, 2))).float(),
    loss=nn.functional.mse_loss,
    epochs=6,
)
with torch.no_grad():
    y = model(x)
spread = (target - target.mean()).abs().mean().item()
error = (y - target).abs().mean().item()
claim("It is closer than always saying the mean", error < spread, error, spread)

# %% [markdown]
# ## One number per image is a score
#
# For an output of shape (N,), `target=None` asks about the number itself. If yours is (N, 1),
# `target=0` does, or a function: `target=lambda output: output[:, 0]`.
#
# Three questions, three targets:
#
# | question | target |
# |---|---|
# | what pushes the number up? | the number, `lambda y: y` |
# | what pushes it down? | `lambda y: -y` |
# | what keeps it at t? | `lambda y: -(y - t) ** 2` |
#
# With `relu=False` the first two are one map with two signs: that is the one to look at.

# %%
picks = [int(k) for k in (20, 120, 220, 320, 420)]
ups = cw.grad_cam(model, x[picks], target=lambda y: y, relu=False)
downs = cw.grad_cam(model, x[picks], target=lambda y: -y, relu=False)
near = cw.grad_cam(model, x[picks], target=lambda y: -((y - 6) ** 2), relu=False)
torch.testing.assert_close(ups, -downs)

# %%
heat_grid(
    test.images[picks],
    [[up] for up in ups],
    ["up (red), down (blue)"],
    rows=[f"{y[k]:.0f} %" for k in picks],
    masks=test.masks[picks],
    signed=True,
    alt="Five cells, one of each class, with a signed map laid over each: red where a place pushes "
    "the predicted area up, blue where it pushes it down; the true parasite is outlined.",
)

# %% [markdown]
# The map of "near t" is the map of y times one number for each image, −2 (y − t). It turns its sign
# where the prediction is above t, and shows nothing new.

# %%
factor = -2 * (y[picks] - 6)
torch.testing.assert_close(near, factor[:, None, None] * ups, atol=1e-4, rtol=1e-3)

# %% [markdown]
# ## Do the signs mean something?
#
# Cover the quarter of a picture with the most positive sum and watch the number; then the one with
# the lowest.

# %%
drop = {"highest": 0.0, "lowest": 0.0}
quarters = [(i, j) for i in (0, 32) for j in (0, 32)]
few = torch.arange(0, len(x), 5)
heats = cw.upsample(cw.grad_cam(model, x[few], relu=False), 64)
for image, heat, before in zip(x[few], heats, y[few], strict=True):
    ordered = sorted(quarters, key=lambda q: heat[q[0] : q[0] + 32, q[1] : q[1] + 32].sum())
    for name, (i, j) in (("lowest", ordered[0]), ("highest", ordered[-1])):
        copy = image.clone()
        copy[:, i : i + 32, j : j + 32] = image[:, :4, :4].mean((1, 2))[:, None, None]
        with torch.no_grad():
            drop[name] += (before - model(copy[None])[0]).item() / len(few)
claim(
    "Covering the most positive quarter takes more off the number than covering the lowest",
    drop["highest"] > drop["lowest"],
    drop["highest"],
    drop["lowest"],
)

# %% [markdown]
# ## When it goes wrong
#
# - The network ends in a sigmoid or a ReLU: far out, its gradient is close to 0 and the map is pale
#   or blank. Ask for what goes into it.
# - The targets were standardised: the map does not mind, but your t must be standardised too.
# - Two numbers at once, such as a position (x, y): ask for one, `lambda output: output[:, 1]`, or
#   for a difference.
