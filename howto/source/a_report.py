# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A report to hand on: one file that opens anywhere, and says what it does not show
#
# Somebody without Python asks: what does your network look at? You want one file for them, with
# sliders that work offline, and beside it the numbers that keep you honest.

# %%
import html
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import camwidgets as cw
from camwidgets.course import claim, fit, load_crops, to_tensor
from camwidgets.pictures import heat_grid
from camwidgets.scoring import centre_map, mass, wilson

# %%
torch.manual_seed(0)
train, test = load_crops("train"), load_crops("test")
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
_ = fit(model, to_tensor(train.images), torch.from_numpy(train.labels), epochs=5)
x, y = to_tensor(test.images), torch.from_numpy(test.labels)
with torch.no_grad():
    guess = model(x).argmax(1)

# %% [markdown]
# ## Choose the pictures by rule, not by eye
#
# Three drawn by chance and three errors, written down before looking at a map.

# %%
rng = np.random.default_rng(0)
errors = np.flatnonzero((guess != y).numpy())
picks = [*rng.choice(len(x), 3, replace=False), *rng.permutation(errors)[:3]]
print(len(picks), "pictures")

# %% [markdown]
# ## The numbers
#
# How often is it right, how much heat lies on the true region, and how much would lie there for a
# map that never saw the network?

# %%
infected = np.flatnonzero(test.labels != 0)[::4]
heat = cw.upsample(cw.grad_cam(model, x[infected], target=y[infected].tolist()), 64)
masks = test.masks[infected]
on_it = float(mass(heat, masks).nanmean())
centre = float(mass(centre_map(x[infected]), masks).nanmean())
accuracy, low, high = wilson((guess == y).double())
claim("More heat lies on the parasite than of a map of the centre", on_it > centre, on_it, centre)

# %% [markdown]
# ## The pictures and the file
#
# `to_html` writes one file with the pictures, all maps and the sliders in it. It needs no
# network, no Python and no server. It *contains the pictures*: think of who may see them.

# %%
folder = Path(tempfile.mkdtemp())
explorer = cw.Explorer(
    model,
    list(test.images[picks]),
    list(test.class_names),
    masks=list(test.masks[picks]),
)
explorer.to_html(folder / "explorer.html")
explorer.to_png(folder / "explorer.png")
small = (folder / "explorer.html").stat().st_size < 10_000_000
claim("The file is small enough for a mail", small)

# %%
explorer

# %%
explorer.close()

# %%
maps = cw.grad_cam(model, x[picks], target=guess[picks].tolist())
figure = heat_grid(
    test.images[picks],
    [[heat] for heat in maps],
    ["Grad-CAM of what it said"],
    rows=[f"{test.class_names[y[k]]}\nsaid {test.class_names[guess[k]]}" for k in picks],
    masks=test.masks[picks],
    alt="Six cells with the map of the class that the network said: three drawn by chance, then "
    "three errors; the true region is outlined.",
)
figure

# %% [markdown]
# ## One page
#
# Claim, evidence, what speaks against it, limits. Plain HTML, so that it prints.

# %%
facts = {
    "Right": f"{accuracy:.0%} of {len(y)} pictures (95 % interval {low:.0%} to {high:.0%})",
    "Heat on the true region": f"{on_it:.0%}; of a map of the centre {centre:.0%}",
    "Pictures below": "three drawn by chance (seed 0), three errors (same seed)",
    "Method": f"Grad-CAM of the logit, camwidgets {cw.__version__}, torch {torch.__version__}",
}
limits = (
    "A map says where, not why. It was not tested whether the network needs these places "
    "(cover them and look), nor on pictures from elsewhere. Not for diagnosis."
)
rows = "".join(f"<tr><th>{html.escape(k)}<td>{html.escape(v)}" for k, v in facts.items())
(folder / "report.html").write_text(
    "<!doctype html><html lang=en><meta charset=utf-8><title>What does it look at?</title>"
    "<body style='font: 1rem/1.5 sans-serif; max-width: 50rem; margin: 2rem auto'>"
    f"<h1>What does it look at?</h1><table style='text-align: left'>{rows}</table>"
    f"{figure._repr_html_()}<h2>Limits</h2><p>{html.escape(limits)}</p>"
    "<p><a href=explorer.html>Move through the maps yourself</a></p>",
    encoding="utf-8",
)
print(sorted(path.name for path in folder.iterdir()))

# %% [markdown]
# Hand on the folder. If only one file may travel, take `explorer.html` and put the four facts into
# your mail. Lesson 07 has a verdict card to fill in, with the same parts.
