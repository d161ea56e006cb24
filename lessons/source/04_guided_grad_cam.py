# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 04 · Guided Grad-CAM: sharp, but about what?
#
# Two cells lie side by side in one picture: a *ring* on the left, a *schizont* on the right. We ask
# the network twice. Which pixels speak for *ring*? Which pixels speak for *schizont*? (To show them
# large, we cut the picture and its maps in two: a row for each cell.)

# %%
from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import nn

import camwidgets as cw
from camwidgets.course import (
    CLASS_NAMES,
    check,
    claim,
    hint,
    load_crops,
    predict,
    to_tensor,
    trained,
)
from camwidgets.maps import deconvnet, features_and_gradient, gradient, positive_grad_cam
from camwidgets.pictures import figure_picture, heat_grid
from camwidgets.scoring import edge_map, spearman

# %% tags=["nbval-ignore-output"]
net = trained("gap")

# %%
crops = load_crops("test")
rng = np.random.default_rng(4)
RING, SCHIZONT = CLASS_NAMES.index("ring"), CLASS_NAMES.index("schizont")
least = min(RING, SCHIZONT)
pairs = rng.choice(np.flatnonzero(crops.labels >= least), (200, 2))  # infected cells only
pairs = pairs[crops.labels[pairs[:, 0]] != crops.labels[pairs[:, 1]]][:120]

scenes = np.concatenate([crops.images[pairs[:, 0]], crops.images[pairs[:, 1]]], axis=2)
images = to_tensor(scenes)  # (120, 3, 64, 128)
labels = torch.from_numpy(crops.labels[pairs])  # (120, 2): the left cell's class, the right one's

first = labels.tolist().index([RING, SCHIZONT])  # the first scene of this kind, not the prettiest
x = images[first : first + 1]


# %% jupyter={"source_hidden": true}
def two_cells(heats, titles, alt, **style):
    """Maps (64, 128) of the scene, cut in two: a row for each cell, one scale for all."""
    scene = scenes[first]
    return heat_grid(
        [scene[:, :64], scene[:, 64:]],
        [[heat[:, :64] for heat in heats], [heat[:, 64:] for heat in heats]],
        titles,
        rows=[f"left cell: {CLASS_NAMES[RING]}", f"right cell: {CLASS_NAMES[SCHIZONT]}"],
        alt=alt,
        **style,
    )


two_cells(
    [cw.guided_backprop(net, x, target)[0].norm(dim=0) for target in (RING, SCHIZONT)],
    ["what speaks for ring?", "what speaks for schizont?"],
    "A ring and a schizont, and two maps over each. Asked for ring, the map draws both parasites, "
    "sharp as with a pen. Asked for schizont, it draws nearly the same.",
    alpha=0.9,
)

# %% [markdown]
# Each column is one answer. Both are crisp, and both draw *both* parasites. Cover the titles, and
# you cannot tell which column is which. What do such pictures show?
#
# **You will be able to**
#
# - *implement* guided backpropagation for any network, however it calls its ReLUs,
# - *combine* it with Grad-CAM into guided Grad-CAM,
# - *measure* whether a sharp map knows the class, and whether it knows the network at all.
#
# **About 70 minutes.** You need Grad-CAM (lesson 03) and autograd: `requires_grad_`, `backward`.
# The network is the one of lesson 01, or is trained now if you skipped that.

# %% [markdown] tags=["instructor"]
# **Instructor.** Hide the titles of the first picture and take a vote: which of the two columns is
# "ring"? The room splits, and that is the lesson. People have seen such pictures in papers and
# trust them *because* they are sharp. Say early that the lesson builds a famous method and then
# doubts it.
#
# Short of time: exercises 4.4 and 4.7 can be skipped (their checks hand back a working version).
# Exercise 4.3 is the heart: keep it.

# %%
predict(
    "guided.follows",
    "What does a sharp map such as the two above follow?",
    ["the class that we ask for", "stained specks, whichever class we ask for", "the larger cell"],
)

# %% [markdown]
# ## May we put two cells in one picture?
#
# The network was trained on pictures of one cell. It ends in an average over all positions, so
# 64×128 pixels run through it as well. Whether it still *works* there is another question. We made
# 120 such scenes, each of two parasites of different classes, drawn by a seed. Do the two cells get
# the two highest of the five scores?

# %%
with torch.no_grad():
    best, second = net(images).topk(2).indices.T
one = (best[:, None] == labels).any(dim=1)
both = one & (second[:, None] == labels).any(dim=1)
one, both = one.float().mean().item(), both.float().mean().item()
claim("the highest score is one of the two, in 8 of 10", one > 0.8, f"{one:.0%}")
claim("the two highest are the two, in more than half", both > 0.5, f"{both:.0%}")

# %% [markdown]
# Guessing would name one of the two in 4 of 10 scenes, and both in 1 of 10. So the net reads the
# scenes, if less well than single cells. But does it take *ring* from the ring? Put a healthy cell
# in the place of one of the two, and see whose score falls.

# %%
healthy = to_tensor(crops.images[crops.labels == 0][0])  # the first healthy cell of the test set
no_left, no_right = images.clone(), images.clone()
no_left[..., :64], no_right[..., 64:] = healthy, healthy
with torch.no_grad():
    left, right = (net(images) - net(scene) for scene in (no_left, no_right))
left, right = left.gather(1, labels), right.gather(1, labels)  # (120, 2): how far each score falls
own = torch.stack([left[:, 0] > right[:, 0], right[:, 1] > left[:, 1]])
own = own.float().mean().item()
claim("a score falls most without its own cell, in 9 of 10", own > 0.9, f"{own:.0%}")

# %% [markdown]
# In more than 9 of 10 cases a score hangs on its own cell. So every map has a right place: *the
# half that holds the class we asked for*. Had this failed, we would have to stop here: a bad map
# and a confused net would look alike.
#
# ## Which pixels move the score?
#
# The oldest answer is the gradient itself. $\partial y^c / \partial x$ says for every pixel and
# colour how much the score $y^c$ rises if that value rises a little (Simonyan et al. 2014). It has
# one number per colour; for a map we want one per pixel.
#
# ### Exercise 4.1 · One number per pixel (2 minutes, ★)
#
# Given: `gradient` `(N, C, H, W)`, signed. Return: `(N, H, W)`: for each pixel the largest
# absolute value over the channels. A value may push the score up or down; both matter here.
#
# Stuck? Each call of `hint` goes one step further.


# %% tags=["exercise"]
def saliency(gradient):
    """(N, C, H, W) signed -> (N, H, W): the largest absolute value over the channels."""
    # solution
    return gradient.abs().amax(dim=1)
    # end solution


saliency = check("guided.saliency", saliency)

# %%
hint("guided.saliency")


# %%
def as_tensor(result):
    """Your functions may give tensors, arrays or lists; the lesson goes on with tensors."""
    return torch.stack([torch.as_tensor(part).detach().float() for part in result])


def pixels(maps):
    return as_tensor(saliency(maps))


# %% jupyter={"source_hidden": true}
two_cells(
    [pixels(gradient(net, x, target))[0] for target in (RING, SCHIZONT)],
    ["ring: speckle", "schizont: speckle, too"],
    "The ring and the schizont with two gradient maps each: speckles, densest on and around the "
    "parasites of both cells, and alike for both classes.",
    alpha=0.9,
)

# %% [markdown]
# Speckles, mostly on the parasites of both cells. That the two maps are alike is no surprise yet:
# a pixel of the left cell may well move both scores, one up and the other down, and absolute values
# hide the direction. The speckle made people look for something cleaner.
#
# ## What may pass a ReLU on the way back?
#
# A gradient meets ReLUs on its way from the score to the picture. On the way forward, a ReLU was
# given x; on the way back, a gradient g arrives. Three rules say what goes on:
#
# | rule | asks | passes on |
# |---|---|---|
# | plain gradient | was x positive? | g where x > 0 |
# | deconvnet (Zeiler and Fergus 2014) | is g positive? | g where g > 0 |
# | guided (Springenberg et al. 2015) | both | g where x > 0 and g > 0 |
#
# Only the first one is a derivative. The others keep what speaks *for* the score and drop the rest
# at every ReLU.
#
# ### Exercise 4.2 · Three rules (4 minutes, ★)
#
# Given: `x` and `gradient`, of one shape. Return: three tensors of that shape, `plain,
# deconvnet, guided`: what each rule passes on. Stuck? `hint("guided.three_rules")`.


# %% tags=["exercise"]
def three_rules(x, gradient):
    """What the plain, the deconvnet and the guided rule pass on: three tensors."""
    # solution
    plain = gradient * (x > 0)
    deconvnet = gradient * (gradient > 0)
    guided = gradient * (x > 0) * (gradient > 0)
    return plain, deconvnet, guided
    # end solution


three_rules = check("guided.three_rules", three_rules)

# %%
forward = torch.tensor([2.0, 2.0, -2.0, -2.0])
arriving = torch.tensor([3.0, -3.0, 3.0, -3.0])
for rule, passed in zip(
    ("plain", "deconvnet", "guided"), three_rules(forward, arriving), strict=True
):
    print(f"{rule:10}", [int(value) for value in passed])

# %% [markdown]
# Four combinations of signs, and the guided rule lets one of them through. Now the same three rules
# at every ReLU of the network, on four test crops drawn by a seed.

# %%
four = rng.choice(np.flatnonzero(crops.labels), 4, replace=False)
cells, classes = to_tensor(crops.images[four]), torch.from_numpy(crops.labels[four])
maps = [pixels(rule(net, cells, classes)) for rule in (gradient, deconvnet, cw.guided_backprop)]
maps = [cw.normalize(m) for m in maps]  # each map by its own maximum: the rules differ in size

# %% jupyter={"source_hidden": true}
heat_grid(
    crops.images[four],
    list(zip(*maps, strict=True)),
    ["plain: speckle", "deconvnet: everywhere", "guided: a clean drawing"],
    rows=[CLASS_NAMES[c] for c in classes],
    alpha=0.9,
    scale="share of the map's maximum",
    alt="Four crops, each with three maps. The plain gradient is speckled, the deconvnet covers "
    "cell and background with a grid of dots, guided backpropagation draws parasites "
    "and other stained specks on black.",
)

# %% [markdown]
# At its ReLUs the deconvnet never asks what the forward pass found, so it writes on the empty
# background too; its grid is that of the max-pooling, which hands each gradient to one pixel of
# four. With both questions most of the speckle is gone. It is tempting to say: so this is what the
# network sees. Keep that thought; we will test it at the end.
#
# ## How do we get the rule into a network?
#
# Not by writing a backward pass. PyTorch lets us look over its shoulder: `h.register_hook(f)` asks
# it to call `f(gradient)` when the gradient of `h` arrives, and to go on with what `f` returns.
# PyTorch's ReLU already asks "was x positive?". The hook has to ask the other question.
#
# Here is a small network: `h = relu(layer @ h)` for each matrix in `layers`, starting from `x`; the
# score is the sum of the last `h`. This function gives its plain gradient, for you to copy:


# %%
def plain_gradient(x, layers):
    """Gradient of relu(… relu(layers[0] @ x)).sum() at x, (n,)."""
    x = x.clone().requires_grad_()
    h = x
    for layer in layers:
        h = torch.relu(layer @ h)
    h.sum().backward()
    return x.grad


# %% [markdown]
# ### Exercise 4.3 · A guided chain (6 minutes, ★★)
#
# Given: `x` `(n,)` and the list `layers`. Return: the *guided* gradient at x, `(n,)`. With a hook
# it is one line more than above; a `torch.autograd.Function` or pencil and paper are fine as well.
# Stuck? `hint("guided.gradient")`.


# %% tags=["exercise"]
def guided_gradient(x, layers):
    """Guided gradient of relu(… relu(layers[0] @ x)).sum() at x, (n,)."""
    # solution
    x = x.clone().requires_grad_()
    h = x
    for layer in layers:
        h = torch.relu(layer @ h)
        h.register_hook(lambda gradient: gradient.clamp(min=0))
    h.sum().backward()
    return x.grad
    # end solution


guided_gradient = check("guided.gradient", guided_gradient)

# %% [markdown]
# PyTorch walks back by itself; one question, added at every ReLU, is the whole method. In a real
# network the ReLUs are out of reach, inside `forward`. `cw.guided_backprop` meets every one of
# them, whether it is a module or a call of a function; how, and what goes wrong in the usual
# recipe, is the optional section at the end.
#
# <details><summary><b>Help, I get <code>RuntimeError: cannot register a hook on a tensor that
# doesn't require gradient</code></b></summary>
#
# No gradient will ever arrive there, because nothing upstream asked for one. Let the chain start
# from `x.clone().requires_grad_()`. </details>
#
# ## How do we look at a picture with two signs?
#
# So far we dropped the signs. A guided gradient has one in each colour: more red here, less blue
# there. Papers show it as a colour picture. For that, zero must look like nothing: middle gray, in
# every picture.
#
# ### Exercise 4.4 · Gray is zero (3 minutes, ★★)
#
# Given: `values` `(C, H, W)`, of either sign. Return: `(C, H, W)` between 0 and 1: zero becomes
# 0.5, and the value farthest from zero becomes 0 or 1, by its sign. A map of zeros becomes gray.
# Stuck? `hint("guided.signed_picture")`.


# %% tags=["exercise"]
def signed_picture(values):
    """(C, H, W) of either sign -> (C, H, W) in 0..1, where 0.5 stands for zero."""
    # solution
    peak = values.abs().max()
    return 0.5 + values / (2 * peak) if peak > 0 else torch.full_like(values, 0.5)
    # end solution


signed_picture = check("guided.signed_picture", signed_picture)


# %%
def as_picture(values):
    """Signed (C, H, W) -> uint8 (H, W, C), to be shown."""
    return (255 * as_tensor(signed_picture(values))).round().byte().permute(1, 2, 0).numpy()


details = [as_picture(d) for d in cw.guided_backprop(net, cells, classes)]

# %% jupyter={"source_hidden": true}
cw.gallery(
    [*crops.images[four], *details],
    [*(CLASS_NAMES[c] for c in classes), "violet: the stain", "", "", ""],
    columns=4,
    alt="Four crops, and below each its guided backpropagation as a colour picture: gray "
    "background, violet dots where the parasite is.",
)

# %% [markdown]
# The dots are violet: less red, less green, more blue. That is the colour of the stain. (Read it as
# a leaning, not as "this would raise the score": with two questions at every ReLU it is no
# derivative any more.) Let us not trust our eyes with colours, and count.

# %%
found = torch.from_numpy(crops.masks[four])
inside = cw.guided_backprop(net, cells, classes).movedim(1, -1)[found]  # (pixels on parasites, 3)
leaning = inside.sum(dim=0) / inside.abs().sum(dim=0)  # -1: all negative, 1: all positive
for colour, value, sign in zip(("red", "green", "blue"), leaning, (-1, -1, 1), strict=True):
    claim(f"{'more' if sign > 0 else 'less'} {colour}", sign * value > 0.2, value.item())

# %% [markdown]
# ## Where × what
#
# Grad-CAM knows the class and is coarse. Guided backpropagation is fine and, as we suspect, does
# not care about the class. Their product keeps what both agree on (Selvaraju et al. 2017, section
# 3.2).
#
# ### Exercise 4.5 · The product (3 minutes, ★★)
#
# Given: `heat` `(N, h, w)`, a Grad-CAM map, not negative; `detail` `(N, C, H, W)`. Return:
# `(N, C, H, W)`: the heat at the picture's size (`cw.upsample`), times the detail in every channel.
# Stuck? `hint("guided.product")`.


# %% tags=["exercise"]
def product(heat, detail):
    """heat (N, h, w) at the size of detail (N, C, H, W), times detail."""
    # solution
    return cw.upsample(heat, detail.shape[2:])[:, None] * detail
    # end solution


product = check("guided.product", product)

# %% [markdown]
# <details><summary><b>Help, I get <code>RuntimeError: The size of tensor a (…) must match the size
# of tensor b (…) at non-singleton dimension 3</code></b></summary>
#
# The map still has its own few positions: upsample it to `detail.shape[2:]` first. If the dimension
# named is 1, the map lacks its channel axis: PyTorch lines shapes up from the right, and N stands
# under C. With three images there is no error at all, and a wrong result.
# </details>

# %%
wheres = [cw.grad_cam(net, x, target=target) for target in (RING, SCHIZONT)]
whats = [cw.guided_backprop(net, x, target) for target in (RING, SCHIZONT)]
products = [as_tensor(product(where, what)) for where, what in zip(wheres, whats, strict=True)]
for target, ours in zip((RING, SCHIZONT), products, strict=True):
    assert torch.allclose(ours, cw.guided_grad_cam(net, x, target=target), atol=1e-6)

# %%
coarse = torch.cat([cw.upsample(where, (64, 128)) for where in wheres])
fine = torch.cat([pixels(p) for p in products])

# %% jupyter={"source_hidden": true}
two_cells(
    [*coarse / coarse.max(), *fine / fine.max()],  # each pair has its own scale
    ["Grad-CAM, ring", "Grad-CAM, schizont", "product, ring: fine", "product, schizont: fine"],
    "The ring and the schizont with four maps each. Grad-CAM is a wide blob, hottest on the cell "
    "of the class asked for; the product draws fine detail, fainter on the other cell.",
    alpha=0.9,
    scale="share of the pair's maximum",
)

# %% [markdown]
# The class is back, for the most part, and the lines are still fine. What heat Grad-CAM has on the
# wrong cell, the product keeps as well. One scene proves little. We have 120.
#
# ## Who knows the class?
#
# Count the *mass*: how much of a map lies in the half of the class that was asked for? A map that
# does not know the class puts about as much into either half.
#
# ### Exercise 4.6 · Shares of the mass (4 minutes, ★★)
#
# Given: `heat` `(H, W)`, not negative; `cells` `(H, W)`, whole numbers: 1 to n say which cell a
# pixel belongs to, 0 is background. Return: `(n,)`: for each cell, the heat inside as a share of
# all the heat, the background's too. A blank map gives zeros. Stuck? `hint("guided.cell_shares")`.


# %% tags=["exercise"]
def cell_shares(heat, cells):
    """heat (H, W), cells (H, W) with numbers 0 to n -> (n,) shares of the whole mass."""
    # solution
    n = int(cells.max())
    inside = torch.stack([heat[cells == k].sum() for k in range(1, n + 1)])
    total = heat.sum()
    return inside / total if total > 0 else torch.zeros(n)
    # end solution


cell_shares = check("guided.cell_shares", cell_shares)

# %%
predict(
    "guided.product_share",
    "Which map puts the largest share of its mass into the cell of the class asked for?",
    ["guided backpropagation", "Grad-CAM", "guided Grad-CAM"],
)

# %% [markdown]
# Six methods, and beside them an edge detector that knows no network, alone and times Grad-CAM. We
# ask for both classes of all 120 scenes. Of the mass in the class's own half, we also count how
# much lies on the parasite. That is the fine detail. (The count takes about ten seconds, longer on
# a small machine.)


# %%
def enlarged(heat):
    return cw.upsample(heat, (64, 128))


METHODS = {
    "gradient": lambda net, x, c: pixels(gradient(net, x, c)),
    "deconvnet": lambda net, x, c: pixels(deconvnet(net, x, c)),
    "guided backprop": lambda net, x, c: pixels(cw.guided_backprop(net, x, c)),
    "Grad-CAM": lambda net, x, c: enlarged(cw.grad_cam(net, x, target=c)),
    "positive-only": lambda net, x, c: enlarged(positive_grad_cam(net, x, target=c)),
    "guided Grad-CAM": lambda net, x, c: pixels(cw.guided_grad_cam(net, x, target=c)),
    "edges": lambda net, x, c: edge_map(x),
    "edges × Grad-CAM": lambda net, x, c: edge_map(x) * enlarged(cw.grad_cam(net, x, target=c)),
}

# %%
masks = [crops.masks[pairs[:, 0]], crops.masks[pairs[:, 1]]]
parasites = torch.from_numpy(np.concatenate(masks, axis=2))
# left half: parasite 1, rest 2; right half: parasite 3, rest 4
parts = 2 + 2 * (torch.arange(128) >= 64) - parasites.long()


def score(method):
    """Share of the mass in the class's own cell, and how much of that lies on its parasite."""
    own = []
    for side in (0, 1):
        batches = zip(images.split(30), labels[:, side].split(30), parts.split(30), strict=True)
        for x, c, part in batches:
            shares = map(cell_shares, METHODS[method](net, x, c), part)
            own.append(as_tensor(shares)[:, 2 * side : 2 * side + 2])
    parasite, rest = torch.cat(own).mean(dim=0).tolist()
    return parasite + rest, parasite / (parasite + rest)


# %%
scores = {method: score(method) for method in METHODS}

# %% jupyter={"source_hidden": true}
figure = Figure((7.5, 4.2), layout="constrained")
axis = figure.subplots()
for method, (own_cell, on_parasite) in scores.items():
    axis.plot(own_cell, on_parasite, "o", color="0.5" if "edges" in method else "tab:blue")
    axis.annotate(method, (own_cell, on_parasite), xytext=(6, 4), textcoords="offset points")
axis.axvline(0.5, color="0.8", zorder=0)
axis.set(xlim=(0.45, 1.1), xticks=np.arange(5, 11) / 10, ylim=(0, 1))
axis.set_title("The product knows the class and draws finely")
axis.set_xlabel("knows the class: share of the mass in its own cell (a coin: 0.5)")
axis.set_ylabel("fine: of that, share on the parasite")
figure_picture(
    figure,
    "Eight methods as points. Edges, deconvnet and gradient lie at the left, near one half, guided "
    "backpropagation a little farther right and high up; Grad-CAM lies far right and lower; guided "
    "Grad-CAM lies far right and highest; edges times Grad-CAM lies far right, above Grad-CAM; "
    "positive-only lies between.",
)

# %%
where = {method: own_cell for method, (own_cell, _) in scores.items()}
detail = {method: on_parasite for method, (_, on_parasite) in scores.items()}


def shares(*names):
    return [f"{name} {where[name]:.2f}" for name in names]


coins = max(where["gradient"], where["deconvnet"])
claim("edges, gradient and deconvnet toss a coin", coins < 0.6, *shares("gradient", "deconvnet"))
a_little = 0.5 < where["guided backprop"] < where["Grad-CAM"] - 0.1
claim("guided backprop knows a little", a_little, *shares("guided backprop", "Grad-CAM"))
most = where["guided Grad-CAM"] > where["Grad-CAM"] > 0.75
claim("their product knows most", most, *shares("guided Grad-CAM"))
filters = where["edges × Grad-CAM"] > where["Grad-CAM"] - 0.05
claim("edges × Grad-CAM as much as Grad-CAM", filters, *shares("edges × Grad-CAM"))
finer = min(detail["guided backprop"], detail["edges × Grad-CAM"]) - detail["Grad-CAM"]
claim("and it is finer than Grad-CAM", finer > 0.1, f"by {finer:.2f} or more")
assert abs(where["edges"] - 0.5) < 0.01

# %% jupyter={"source_hidden": true}
predict.reveal(
    "guided.product_share",
    "guided Grad-CAM",
    "Both factors lean towards the class's own cell, one a lot and one a little, and in a product "
    "the two multiply.",
)
predict.reveal(
    "guided.follows",
    "stained specks, whichever class we ask for",
    "Asked for a class, guided backpropagation puts a little more than half of its mass into that "
    "class's cell. The rest goes to the other one. And the rims of the cells, which are edges too, "
    "stay dark.",
)

# %% [markdown]
# As magnitudes, the gradient and the deconvnet toss a coin. (With its signs the gradient does know
# the class: it *is* the slope of that score. A map of absolute values has thrown that away.) Guided
# backpropagation does a little better and draws finely. Grad-CAM knows the class, at coarse grain.
# The product has both, and that is why people like it.
#
# Now look at the gray points. The edge detector draws the same for both classes. Times Grad-CAM, it
# knows the class as well as Grad-CAM and draws more finely, and its lines never met the network. So
# a high place in this chart does not prove that a map's *lines* are the network's.

# %% [markdown] tags=["instructor"]
# **Instructor.** Before the gray points are explained, ask: "Could a method stand at the top right
# and still be useless?" (Yes: cut a drawing of all parasites out along Grad-CAM's blob. It knows
# where the cell of this class is, but not why the net says so.)

# %% [markdown]
# ## Positive-only: what does it lose?
#
# One point of the chart is still without a story. `tf-explain` calls a weighting "guided
# gradients", and it is the default of its Grad-CAM. It is neither Grad-CAM nor guided Grad-CAM. It
# takes the guided idea to Grad-CAM's *weights*: of each gradient g only what is positive counts,
# and only where the feature A is positive too.
#
# ### Exercise 4.7 · Positive-only weights (3 minutes, ★★)
#
# Given: `features` `(K, h, w)`, after a ReLU, and `gradient` `(K, h, w)` of the class score at
# them. Return: `(K,)`: the mean over all h·w positions of 1[A > 0] · 1[g > 0] · g. Stuck?
# `hint("guided.positive_weights")`.


# %% tags=["exercise"]
def positive_weights(features, gradient):
    """features, gradient (K, h, w) -> (K,): mean over the positions of 1[A > 0] 1[g > 0] g."""
    # solution
    return (gradient * (features > 0) * (gradient > 0)).mean(dim=(1, 2))
    # end solution


positive_weights = check("guided.positive_weights", positive_weights)

# %%
features, slope = (t[0] for t in features_and_gradient(net, x, "blocks.3", RING))
usual, positive = slope.mean(dim=(1, 2)), as_tensor(positive_weights(features, slope))
print("Grad-CAM: is any weight negative?     ", bool((usual < 0).any()))
print("positive-only: is any weight negative?", bool((positive < 0).any()))

signed = [torch.einsum("k,kij->ij", weights, features) for weights in (usual, positive)]

# %% jupyter={"source_hidden": true}
two_cells(
    [cw.upsample(heat / heat.abs().max(), (64, 128)) for heat in signed],  # each its own scale
    ["no ReLU: the ring", "positive-only: both"],
    "Maps of ring on both cells. Grad-CAM without ReLU is red on the ring, faintly red on part of "
    "the schizont and pale blue around it; positive-only is red on both.",
    signed=True,
    alpha=0.7,
    scale="share of the map's maximum",
)

# %% [markdown]
# A feature that speaks against *ring* has a negative weight. Grad-CAM lets it take heat away from
# the schizont. Positive-only throws that evidence away: no weight is negative and no feature is, so
# the map cannot be. How much does that cost? Compare the heat on the *other* cell's parasite with
# the heat on the class's own, over all scenes.


# %%
def spill(explain):
    """Mean heat on the other cell's parasite, as a share of that on the class's own."""
    own = other = 0.0
    for side in (0, 1):
        batches = zip(images.split(30), labels[:, side].split(30), strict=True)
        heats = enlarged(torch.cat([explain(net, x, target=c) for x, c in batches]))
        own = own + heats[parts == 1 + 2 * side].mean()
        other = other + heats[parts == 3 - 2 * side].mean()
    return float(other / own)


# %%
kept = spill(lambda net, x, target: cw.grad_cam(net, x, target=target, relu=False))
lost = spill(positive_grad_cam)
print("heat on the other parasite, as a share of that on the class's own:")
claim("Grad-CAM without ReLU: below 0", kept < 0, kept)
claim("positive-only: more than a fifth", lost > 0.2, lost)
left = where["positive-only"] < where["Grad-CAM"] - 0.05
claim("positive-only knows the class less", left, *shares("positive-only", "Grad-CAM"))

# %% [markdown]
# In the scene above the schizont is still faintly red. On average over 120 scenes Grad-CAM counts
# the other parasite *against* the class; positive-only counts it as evidence *for* it. What it
# loses are the features that tell the two parasites apart by speaking against one. The chart shows
# the price: its point lies well left of Grad-CAM's.
#
# ## Is the map about the network at all?
#
# Here is a test with teeth (Adebayo et al. 2018). Take a copy of the net. Replace its classifier
# and its last block by random weights. The copy knows nothing about classes. A map that explains
# the *net's decision* has to change.

# %%
predict(
    "guided.random",
    "The top of the net becomes random. Which map hardly changes?",
    ["guided backpropagation", "Grad-CAM", "both change a lot"],
)

# %% [markdown]
# "Changes" needs a number. Sharp maps have a few huge values, so we compare *ranks*: does the pixel
# that was hottest stay among the hottest? That is Spearman's correlation: 1 for the same order, 0
# for none in common.
#
# ### Exercise 4.8 · Rank correlation (4 minutes, ★★★)
#
# Given: maps `a` and `b` `(h, w)`, each of distinct values. Return: one number: replace every
# value by its rank in its map, then take the usual correlation of the ranks. Stuck?
# `hint("guided.rank_correlation")`.


# %% tags=["exercise"]
def rank_correlation(a, b):
    """Spearman's correlation of two maps (h, w) of distinct values: one number, -1 to 1."""
    # solution
    ranks = torch.stack([a.flatten(), b.flatten()]).argsort(dim=1).argsort(dim=1).double()
    return torch.corrcoef(ranks)[0, 1]
    # end solution


rank_correlation = check("guided.rank_correlation", rank_correlation)

# %% [markdown]
# Real maps have ties: where guided backpropagation is exactly 0, say. `camwidgets.scoring.spearman`
# gives equal pixels their average rank, and agrees with yours where there are none. We use it from
# here on.

# %%
a, b = torch.rand(2, 9, 9, generator=torch.Generator().manual_seed(0))
assert abs(float(rank_correlation(a, b)) - float(spearman(a[None], b[None]))) < 1e-4


def with_random(parts, seed):
    """A copy of the net in which these parts have fresh random weights."""
    copy = deepcopy(net)
    torch.manual_seed(seed)
    for part in parts:
        for layer in copy.get_submodule(part).modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return copy


# %%
many = rng.choice(np.flatnonzero(crops.labels), 40, replace=False)
inputs, targets = to_tensor(crops.images[many]), torch.from_numpy(crops.labels[many])
EXPLAIN = {
    "guided backprop": lambda net: pixels(cw.guided_backprop(net, inputs, targets)),
    "Grad-CAM": lambda net: cw.grad_cam(net, inputs, target=targets, relu=False),
}


def alike(method, parts):
    """Mean rank correlation of a method's maps before and after; 40 crops, 3 random draws."""
    before = EXPLAIN[method](net)
    draws = [spearman(before, EXPLAIN[method](with_random(parts, seed))) for seed in range(3)]
    return torch.stack(draws).nanmean().item()


top, all_parts = ["classifier", "blocks.3"], ["classifier", *(f"blocks.{k}" for k in range(4))]
after = {method: alike(method, top) for method in EXPLAIN}
nothing_left = alike("guided backprop", all_parts)

# %%
print("rank correlation with the learned net's map:")
kept = after["guided backprop"]
claim("guided backprop, random top: above 0.4", kept > 0.4, kept)
claim("Grad-CAM, random top: less than 0.4", abs(after["Grad-CAM"]) < 0.4, after["Grad-CAM"])
claim("guided backprop, all random: less than 0.4", nothing_left < 0.4, nothing_left)

# %% jupyter={"source_hidden": true}
predict.reveal(
    "guided.random",
    "guided backpropagation",
    "It still draws the parasite, for a net that can no longer tell a ring from a schizont.",
)

# %%
nets = net, with_random(top, seed=0)
top_maps = [cw.normalize(explain(n)[:3]) for explain in EXPLAIN.values() for n in nets]

# %% jupyter={"source_hidden": true}
heat_grid(
    crops.images[many[:3]],
    list(zip(*top_maps, strict=True)),
    ["guided, as learned", "random top: alike", "Grad-CAM, as learned", "random top: another"],
    rows=[CLASS_NAMES[c] for c in targets[:3]],
    alpha=0.9,
    scale="share of the map's maximum",
    alt="Three crops with four maps each. The guided backpropagation of the learned net and of the "
    "net with a random top draw nearly the same parasite; the two Grad-CAM maps differ.",
)

# %% [markdown]
# A net that knows nothing about classes gives nearly the same crisp drawing. So the drawing cannot
# be the reason for the class. Grad-CAM loses its order, as it should.
#
# Why? The class enters at one place: as the weights $w_k^c$ of the 64 features behind the last
# ReLU. The guided rule drops the negative ones. What goes back is a mixture of features with
# positive weights, learned or random, for *ring* or for *schizont*; and such mixtures look alike:
# large where many features are active. If that is right, asking the *learned* net for a wrong class
# changes little, too.

# %%
kinds = len(CLASS_NAMES) - least
wrong = least + (targets - least + 1) % kinds  # the next one of the four parasites
asked, misasked = (pixels(cw.guided_backprop(net, inputs, c)) for c in (targets, wrong))
still = float(spearman(asked, misasked).nanmean())
claim("guided backprop, a wrong class: rank correlation above 0.4", still > 0.4, still)

# %% [markdown]
# It does change little. Further down the same filter follows at every ReLU, and what survives is
# decided by the *forward* pass. Nie et al. (2018) prove for networks with *random* weights and
# *very wide* layers that the result tends to a partial copy of the input. Ours is neither, so their
# theorem is a hint and no proof here. In our net it is more than a plain edge detector: randomise
# the early layers too, and the drawing goes. It follows what *they* respond to.
#
# And the product? Its place comes from Grad-CAM and passes the test as far as Grad-CAM does. Its
# lines come from the other factor and do not. Sharp is not faithful.

# %% [markdown] tags=["instructor"]
# **Instructor.** The room often concludes "so guided backpropagation is useless". Slow down: it
# shows what the early layers respond to, and that is worth knowing; it does not say why *this
# class*. Ask what one would have believed on seeing only the random net's drawing.

# %% [markdown]
# ## Optional: does the hook meet every ReLU?
#
# In a real network the ReLUs are out of reach, inside `forward`. The usual recipe puts a hook on
# every `nn.ReLU` *module*. But `forward` may as well call the *function* `F.relu`. Here is the
# recipe, and a twin of our network: the same layers and weights, with `F.relu` in place of the
# modules.


# %%
def hooked_modules(model, images, target):
    """Guided backpropagation as many packages do it: hooks on the nn.ReLU modules."""

    def rule(module, grad_input, grad_output):
        return (grad_input[0].clamp(min=0),)

    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    handles = [module.register_full_backward_hook(rule) for module in relus]
    try:
        x = images.clone().requires_grad_()
        return torch.autograd.grad(model(x)[:, target].sum(), x)[0]
    finally:
        for handle in handles:
            handle.remove()


# %%
class Twin(nn.Module):
    """The same net, calling F.relu."""

    def __init__(self, net):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(b for b in block if not isinstance(b, nn.ReLU)) for block in net.blocks
        )
        self.classifier = net.classifier

    def forward(self, x):
        for conv, norm, *pool in self.blocks:
            x = F.relu(norm(conv(x)))
            x = pool[0](x) if pool else x
        return self.classifier(x.mean(dim=(2, 3)))


twin = Twin(net).eval()
assert torch.allclose(twin(x), net(x), atol=1e-4), "the twin gives the same scores"

# %%
predict(
    "guided.twin",
    "The twin computes the same scores. What does hooked_modules give for it?",
    ["the same map as for the net", "an error", "the plain gradient, without a word"],
)


# %%
def same(a, b):
    return bool((a - b).abs().max() < 1e-3 * b.abs().max())


on_net, on_twin = hooked_modules(net, x, RING), hooked_modules(twin, x, RING)
claim("net: guided backpropagation", same(on_net, cw.guided_backprop(net, x, RING)))
claim("twin: not", not same(on_twin, cw.guided_backprop(net, x, RING)))
claim("twin: the plain gradient", same(on_twin, gradient(net, x, RING)))

# %% jupyter={"source_hidden": true}
predict.reveal(
    "guided.twin",
    "the plain gradient, without a word",
    "The twin has no nn.ReLU module, so there is nothing to hook, and nobody complains.",
)

# %% [markdown]
# No error, and a picture that looks like a result. torchvision's GoogLeNet calls nothing but
# `F.relu`: there the recipe gives the plain gradient, too.
#
# How can one meet *every* ReLU? Whoever calls one, module or function, leaves a trace: autograd
# notes each operation, to be able to walk back. Every result knows what made it (`grad_fn`), and
# that knows what came before (`next_functions`).


# %%
def relus_of(output):
    """Every ReLU on the way from the input to this output, as autograd has noted them."""
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return [node for node in seen if node.name().startswith("Relu")]


for name, model in (("net", net), ("twin", twin)):
    print(f"{name:4} has called {len(relus_of(model(x)))} ReLUs")

# %% [markdown]
# Four each: no hook on any module, no change to the model. Hang the question of exercise 4.3 on
# each of these nodes, and you have guided backpropagation for any network: that is `relus_follow`
# in `camwidgets/maps/graph.py`; the question itself stands in `guided_2015.py` beside it, in one
# line. And where there is no ReLU at all, one can say so instead of drawing:

# %%
for name, model in (("net", net), ("twin", twin)):
    again = cw.guided_backprop(model, x, RING)
    claim(f"cw.guided_backprop of the {name} is guided", same(again, on_net))

try:
    cw.guided_backprop(nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten()), x, 0)
except ValueError as error:
    print(error)

# %% [markdown]
# <details><summary><b>Help, I get <code>RuntimeError: Output 0 of BackwardHookFunction is a view
# and is being modified inplace</code></b></summary>
#
# You tried `hooked_modules` on a network of your own (do!) with `nn.ReLU(inplace=True)`, as most of
# torchvision's have. A full backward hook hands the module a view of its input, and the module may
# not overwrite that. `cw.guided_backprop` hangs its hooks on autograd's own record and takes such
# networks as they are. </details>
#

# %% [markdown]
# ## Key points
#
# - Plain, deconvnet, guided: three rules for what passes a ReLU backwards. One is a derivative.
# - (Optional part) Hooks on `nn.ReLU` modules miss `F.relu`, silently.
# - Guided backpropagation is sharp and hardly knows the class; Grad-CAM is coarse and knows it.
# - Their product has both, and inherits both weaknesses: Grad-CAM's place, lines without a reason.
# - Positive-only weights drop the evidence against, and with it much of the class.
#
# ## Quiz
#
# **1.** A paper shows guided Grad-CAM with beautiful lines on a bird's feathers. May you conclude
# that the net uses the feathers' texture?
# <details><summary>Answer</summary>No. The place says that the bird matters to the score. The lines
# inside are drawn by guided backpropagation, which draws fine contrast there for a random
# classifier too. Changing the texture and asking the net again would tell.</details>
#
# **2.** Your guided maps look exactly like plain gradients. What do you check first?
# <details><summary>Answer</summary>Whether any ReLU was met: <code>F.relu</code>,
# <code>torch.relu</code>, or another activation such as SiLU. With
# <code>cw.guided_backprop</code> you would have got an error or the right map.</details>
#
# **3.** At one ReLU x = 3, and the gradient that arrives is −2. What do the three rules pass on?
# <details><summary>Answer</summary>Plain: −2, since x was positive. Deconvnet: 0, since the
# gradient is negative. Guided: 0, since one of its two questions is answered no.</details>
#
# ## What this does not show
#
# One small net, one data set, two cells that do not touch. In deeper nets the guided rule is
# applied more often and forgets more. Two crops side by side are not a photograph of two cells:
# there is a seam in the middle, and the edge detector draws it. That a map lies in the class's
# own cell does not prove that the net *needs* what it marks there.
#
# ## References
#
# - Simonyan, Vedaldi, Zisserman, *Deep Inside Convolutional Networks*, ICLR workshop 2014,
#   section 3: the gradient, and in 3.1 the largest value over the colours.
# - Zeiler, Fergus, *Visualizing and Understanding Convolutional Networks*, ECCV 2014, section 2.1:
#   deconvnet.
# - Springenberg et al., *Striving for Simplicity*, ICLR workshop 2015, section 3.4: guided
#   backpropagation.
# - Selvaraju et al., *Grad-CAM*, ICCV 2017, equations 1 and 2; section 3.2: guided Grad-CAM.
# - Adebayo et al., *Sanity Checks for Saliency Maps*, NeurIPS 2018, section 3: randomised weights.
# - Nie, Zhang, Patel, *A Theoretical Explanation for Perplexing Behaviors of Backpropagation-based
#   Visualizations*, ICML 2018 (PMLR 80, pages 3809–3818): why the input comes back.
#
# **Next.** [05 · Explorer lab](05_explorer_lab.ipynb): our eyes liked the sharpest map best, and
# were wrong about it. Now you are the detective: three networks with the same good report. Which of
# them have learned a shortcut, and can you prove it?
