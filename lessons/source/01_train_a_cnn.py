# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 01 · Train a CNN: can it be right for the wrong reason?
#
# How does one train a network, and how do we find out whether it is any good? First you. Here are
# eight blood cells. Some carry a malaria parasite, some do not, and nearly every one has something
# dark in it or near it.

# %%
import inspect
from textwrap import dedent

import numpy as np
import torch
from IPython.display import Markdown
from matplotlib.figure import Figure

import camwidgets as cw
from camwidgets.course import (
    CLASS_NAMES,
    GapCNN,
    check,
    claim,
    erase_mark,
    fit,
    hint,
    load_crops,
    predict,
    save,
    scores,
)
from camwidgets.pictures import figure_picture

# %%
train, test = load_crops("train"), load_crops("test")
rng = np.random.default_rng(3)
two_kinds = np.flatnonzero(np.isin(train.labels, [0, 1]))  # uninfected cells and rings
eight = rng.choice(two_kinds, 8, replace=False)

# %% jupyter={"source_hidden": true}
cw.gallery(train.images[eight], alt="Eight blood cells in a row, some with a small blue ring.")

# %%
predict("eight", "How many of these eight cells carry a parasite?", ["1", "2", "3", "4", "5", "6"])

# %% [markdown]
# **You will be able to**
#
# - *read* a small CNN line by line and say what shape each line gives,
# - *train* it and *judge* it honestly, on pictures it has never seen,
# - *test* a guess about where it looks by changing the picture.
#
# **About 45 minutes.** You need lesson 00, and you should have seen a convolution before.

# %% [markdown]
# ## What is in a crop?
#
# Our data set is called `smear`. A program of this course drew it in the style of stained blood
# under a microscope: one red cell in the middle of 64×64 pixels, in one of five classes. Four of
# them are malaria parasites at different ages. Because a program drew them, we know to the pixel
# where each parasite is. That will be worth a lot when we judge maps.
#
# It is data for teaching. **Nothing here is good for a diagnosis.**

# %%
for name, value in [("images", train.images), ("labels", train.labels), ("masks", train.masks)]:
    print(f"{name}: {value.dtype} {value.shape}")
print("classes:", ", ".join(CLASS_NAMES))
print(
    "pictures of each class:",
    np.bincount(train.labels),
    "to train,",
    np.bincount(test.labels),
    "to test",
)

# %%
picks = [
    rng.choice(np.flatnonzero(train.labels == c), 8, replace=False) for c in range(len(CLASS_NAMES))
]
titles = [CLASS_NAMES[c] if k == 0 else "" for c in range(len(CLASS_NAMES)) for k in range(8)]

# %% jupyter={"source_hidden": true}
cw.gallery(
    train.images[np.concatenate(picks)],
    titles,
    columns=8,
    alt="Five rows of eight cells. Uninfected: a plain cell, some with a purple speck. Ring: a "
    "thin blue ring with a dot. Trophozoite: an irregular blue body with brown grains. "
    "Schizont: many purple dots around a dark clump. Gametocyte: a blue banana.",
)

# %% [markdown]
# A row is a class; the eight crops of a row are drawn by chance. Look at the first two rows
# again. Specks and platelets (the ragged purple bits) lie on healthy cells too. A dark dot
# alone proves nothing: a ring needs its ring.

# %%
infected = sum(train.labels[eight] != 0)

# %% jupyter={"source_hidden": true}
predict.reveal(
    "eight",
    f"{infected}",
    "Only a thin blue ring counts; the purple specks do not.",
)

# %% [markdown] tags=["instructor"]
# **Instructor.** Two minutes for the eight cells, in pairs, before anybody scrolls. Ask for the
# count by show of hands: the room disagrees, and that is the point. Skip when time is short: the
# list of shapes. Do not skip: "a dark dot alone proves nothing".

# %% [markdown]
# ## What does a CNN want to eat?
#
# Two things differ between a picture and the input of a network. A picture is `(height, width,
# colour)`, whole numbers from 0 to 255. PyTorch's convolutions want `(colour, height, width)`,
# floating-point numbers, and training goes best when they are small.
#
# ### Exercise 1.1 · Pictures to a tensor (5 minutes, ★)
#
# Given: `images`, a uint8 array `(N, H, W, 3)`, 0 to 255. Return: a float tensor `(N, 3, H, W)`,
# 0 to 1. Careful: `reshape` would run without complaint and mix colours with positions.


# %% tags=["exercise"]
def to_tensor(images):
    """Pictures (N, H, W, 3), 0 to 255, as a float tensor (N, 3, H, W), 0 to 1."""
    # solution
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    # end solution


to_tensor = check("training.to_tensor", to_tensor)

# %%
hint("training.to_tensor")  # if you are stuck; run it again for the next step

# %%
train_x = torch.as_tensor(to_tensor(train.images)).float()  # .float(): float64 is fine in the check
test_x = torch.as_tensor(to_tensor(test.images)).float()
train_labels, test_labels = torch.from_numpy(train.labels), torch.from_numpy(test.labels)
print(
    tuple(train_x.shape),
    train_x.dtype,
    "all in [0, 1]:",
    bool((train_x >= 0).all() and (train_x <= 1).all()),
)

# %% [markdown]
# The network never sees a file name, a mask or a title. It sees these numbers, and while it
# trains, the label.

# %% [markdown]
# ## What is in the network?
#
# Here is the whole network, as it stands in `camwidgets/course/networks.py`. Read it before you
# go on; it is shorter than you may expect.

# %%
from camwidgets.course.networks import block, trunk


def source(thing, start=""):
    """The source code of a class or function, in colour, beginning with the line `start`."""
    code = inspect.getsource(thing)
    return Markdown(f"```python\n{dedent(code[code.index(start) :])}```")


source(GapCNN)

# %%
source(trunk)

# %%
source(block)

# %% [markdown]
# | line | what it does | shape after it |
# |---|---|---|
# | `nn.Conv2d(…, kernel_size=3, padding=1)` | one 3×3 pattern a channel, everywhere | same size |
# | `nn.BatchNorm2d` | brings each channel to a common scale | same |
# | `nn.ReLU` | negative becomes 0: a pattern is there, or it is not | same |
# | `nn.MaxPool2d(2)` | keeps the largest of each 2×2 square | half the height and width |
# | `features.mean(dim=(2, 3))` | **global average pooling (GAP)**: one number a map | `(N, 64)` |
# | `nn.Linear(64, classes)` | a weighted sum for each class, plus a bias | `(N, 5)` |
#
# The five numbers at the end are the **scores**, or logits: one per class, any size, any sign.
# The highest one is the network's answer. (*Softmax* turns the five into probabilities that add up
# to 1; the order stays.)

# %%
predict(
    "shape",
    "One crop is (3, 64, 64). What is the shape of the last feature map, before the average?",
    ["(64, 64, 64)", "(64, 16, 16)", "(64, 4, 4)", "(5, 16, 16)"],
)

# %%
torch.manual_seed(0)  # the same random start on every run
model = GapCNN().eval()  # eval: batch norm uses what it has stored, and leaves it alone
with torch.no_grad():
    x = test_x[:1]
    print("crop      ", tuple(x.shape))
    for name, part in model.blocks.named_children():
        x = part(x)
        print(f"blocks.{name}  ", tuple(x.shape))
    print("average   ", tuple(x.mean(dim=(2, 3)).shape))
    print("classifier", tuple(model.classifier(x.mean(dim=(2, 3))).shape))

# %% jupyter={"source_hidden": true}
predict.reveal(
    "shape",
    "(64, 16, 16)",
    "Two of the four blocks pool, and each pooling halves 64.",
)

# %%
everything = sum(p.numel() for p in model.parameters())
head = sum(p.numel() for p in model.classifier.parameters())
print(f"{everything} numbers to learn, {head} of them in the classifier")

# %% [markdown]
# Two facts to keep for the next lesson. Up to the average, the network still knows *where*: 64
# maps of 16×16 positions. And all that is decided after the average are 5 rows of 64 weights.

# %% [markdown]
# ## How does it learn?
#
# `fit` is the course's training loop. Most of it is care for you: a progress bar, an error that
# can be understood, a stop button that keeps what was learned. The learning itself is the few
# lines inside the inner loop. Find them.

# %%
source(fit, start="    order =")  # without its checks of what it is given

# %%
predict(
    "step",
    "Which line changes the network's weights?",
    ["error = loss(…)", "optimizer.zero_grad()", "error.backward()", "optimizer.step()"],
)

# %% jupyter={"source_hidden": true}
predict.reveal(
    "step",
    "optimizer.step()",
    "backward only works out, for each weight, which way the error grows; step then moves it.",
)

# %% [markdown]
# Line by line, for each batch of 64 crops: `model(images[batch])` gives scores, `loss` says how
# far they are from the labels, `zero_grad` forgets the last batch's gradients, `backward`
# computes new ones, `optimizer.step` moves every weight a little, `schedule.step` sets how
# little.
#
# ### Exercise 1.2 · Accuracy (5 minutes, ★)
#
# Before we train we want a yardstick. Given: `scores` `(N, classes)`, a row per picture, and
# `labels` `(N,)`. Return: the share of the pictures whose highest score is that of their label, one
# number from 0 to 1.


# %% tags=["exercise"]
def accuracy(scores, labels):
    """Share of the rows of scores (N, classes) whose highest score stands at labels (N,)."""
    # solution
    return (scores.argmax(dim=1) == labels).float().mean().item()
    # end solution


accuracy = check("training.accuracy", accuracy)

# %% [markdown]
# For scores there is `scores(model, x)`: it runs the network in eval mode, without gradients, and
# gives `(N, 5)`.

# %%
predict(
    "before", "How often is the untrained network right?", ["never", "about 1 in 5", "about 1 in 2"]
)

# %%
untrained = GapCNN()
before = float(accuracy(scores(untrained, test_x), test_labels))

# %% jupyter={"source_hidden": true}
predict.reveal(
    "before",
    "about 1 in 5",
    "It knows nothing, and there are five equally frequent classes.",
)

# %%
claim("untrained, it is right on fewer than 2 of 5 test crops", before < 0.4, f"{before:.1%}")

# %% [markdown]
# This is the first **baseline**. Whatever a network, or later a map, achieves means little until
# you know what you get for nothing. We will need this number in a minute.

# %% [markdown]
# ## Train it
#
# Eight times over all 1,250 training crops. It takes about half a minute on a laptop, longer on a
# small machine; the bar counts batches of 64 crops, 20 an epoch. While it runs, go
# back to the five rows of cells and decide: if you were allowed to look at *three* pixels of a
# crop, which would you take? And would they be the same for a ring and for a gametocyte?

# %% tags=["nbval-ignore-output"]
history = fit(model, train_x, train_labels, epochs=8)
if not history.finished:
    print("Stopped early: what follows is about a network that has learned too little.")
    print("Run this cell again, and it learns on from there.")

# %% jupyter={"source_hidden": true}
figure = Figure((5, 2.6), layout="constrained")
axis = figure.subplots()
axis.plot(range(1, len(history.loss) + 1), history.loss, marker="o")
axis.set(xlabel="epoch", ylabel="mean loss", title="The error, epoch by epoch", ylim=0)
figure_picture(
    figure, "A curve of the loss over eight epochs: it falls steeply, then flattens near 0."
)

# %% [markdown]
# We did not look at the test crops while training, and we chose nothing by them: the number of
# epochs and the learning rate stood there before. As soon as you tune something, you need a third
# part of the data to tune it on; `fit(…, validation=(images, labels))` measures one after each
# epoch.
#
# <details><summary><b>Help, it takes minutes</b></summary>
#
# Look at what else the computer is doing: other running notebooks each hold a network and all
# the cores (menu *Kernel → Shut Down All Kernels*). You can stop the cell with the ■ button:
# `fit` keeps what was learned so far, and the lesson goes on with it. </details>
#
# <details><summary><b>Help, I get <code>TypeError: Images must be a float tensor, not uint8: use
# to_tensor(images).</code></b></summary>
#
# `fit` was given the pictures and not the tensor: `train_x`, not `train.images`.
# </details>

# %% [markdown]
# ## How good is it, honestly?

# %%
y = scores(model, test_x)
on_train = float(accuracy(scores(model, train_x), train_labels))
on_test = float(accuracy(y, test_labels))
told = f"{on_test:.1%} after training, {before:.1%} before"
claim("right on more than 95 % of the test crops", on_test > 0.95, told)
near = abs(on_train - on_test) < 0.05
claim(
    "training and test accuracy differ by less than 5 points", near, f"{on_train:.1%} in training"
)

# %% [markdown]
# One number hides where the errors are. So we count them by class.
#
# ### Exercise 1.3 · The confusion matrix (8 minutes, ★★)
#
# Given: `labels` and `predicted`, both `(N,)`, and the number of `classes`. Return: whole numbers
# `(classes, classes)`; row t, column p says how many pictures of class t were called p. The right
# answers stand on the diagonal.


# %% tags=["exercise"]
def confusion(labels, predicted, classes):
    """Counts (classes, classes): row = true class, column = predicted class."""
    # solution
    table = torch.zeros(classes, classes, dtype=torch.int64)
    for t, p in zip(labels, predicted, strict=True):
        table[t, p] += 1
    return table
    # end solution


confusion = check("training.confusion", confusion)

# %%
predicted = y.argmax(dim=1)
table = np.asarray(confusion(test_labels, predicted, len(CLASS_NAMES))).round().astype(int)

# %% jupyter={"source_hidden": true}
figure = Figure((4.6, 3.8), layout="constrained")
axis = figure.subplots()
axis.imshow(table, cmap="Blues")
for t, p in np.ndindex(tuple(table.shape)):
    axis.text(
        p, t, table[t, p], ha="center", va="center", color="white" if table[t, p] > 50 else "black"
    )
axis.set_xticks(
    range(len(CLASS_NAMES)), CLASS_NAMES, rotation=30, ha="right", rotation_mode="anchor"
)
axis.set_yticks(range(len(CLASS_NAMES)), CLASS_NAMES)
axis.set(xlabel="predicted", ylabel="true", title="Which class, taken for which")
figure_picture(figure, "A table of five by five counts; the diagonal holds nearly all of them.")

# %%
recall = table.diagonal() / table.sum(axis=1)
worst = f"the worst class {recall.min():.0%}"
claim("in every class at least 8 of 10 crops are found", (recall >= 0.8).all(), worst)
assert table.sum() == len(test)

# %% [markdown]
# Read a row: "of the rings, so many were called …". A row answers *what is missed*, a column
# answers *what an answer is worth*. For a doctor the first column matters most: infected cells
# that were called uninfected.

# %% [markdown] tags=["instructor"]
# **Instructor.** People get stuck on rows and columns (the check names the swap) and on
# `table[labels, predicted] += 1`, which counts each pair once (the check names it too). Ask the
# room: "Which single cell of this table would you want to be zero, if this were a hospital?" Skip
# the matrix when time is short: an unsolved exercise hands over a working function.

# %% [markdown]
# ## Which crops are hard?
#
# A number says how often, a picture says why. Here are the twelve test crops of which the network
# is least sure: the score of the right class minus the highest score of any other. Below zero the
# answer is wrong; all errors come first.

# %%
right = y.gather(1, test_labels[:, None])[:, 0]
others = y.scatter(1, test_labels[:, None], float("-inf")).amax(dim=1)
margin = right - others
hard = margin.argsort()[:12]


def answers(crops):
    """For each crop its class, and the network's answer where that is another one."""
    pairs = [(CLASS_NAMES[test_labels[i]], CLASS_NAMES[predicted[i]]) for i in crops]
    return [t if t == p else f"{t}\ncalled {p}" for t, p in pairs]


# %% jupyter={"source_hidden": true}
cw.gallery(
    test.images[hard],
    answers(hard),
    columns=6,
    alt="The twelve test crops with the smallest margin, errors first: parasites of several kinds, "
    "some of them small or at the rim of their cell, and cells with a platelet on them.",
)

# %%
anyones = rng.choice(len(test), 12, replace=False)

# %% jupyter={"source_hidden": true}
cw.gallery(
    test.images[anyones],
    answers(anyones),
    columns=6,
    alt="Twelve test crops drawn by chance, nearly all named rightly.",
)

# %%
wrong = int((margin < 0).sum())
off = int(table.sum() - table.trace())
claim("errors, counted by the margin, as many as off the diagonal", abs(wrong - off) <= 1, wrong)

# %% [markdown]
# What do the hard ones have in common? In ours: rings at the very rim, a platelet that lies on
# a healthy cell like a parasite, schizonts in crowded pictures. The second gallery is there for
# fairness: twelve crops drawn by chance. Had we shown you only the first one, you would think
# little of this network; only the second, too much.

# %% [markdown]
# ## Where does it look?
#
# So it is right nearly always. But right about what? The label says "ring" and nothing else. It
# does not say that the ring is the blue thing. Anything that goes along with a label can be
# learned: a colour, a size, a stain at the rim.

# %%
predict(
    "where",
    "A ring is called ring. Which pixels decide?",
    ["the parasite", "the whole cell", "the rim of the cell", "the background"],
)
predict(
    "cover",
    "We paint the parasite over with the colours around it. The score of ring …",
    ["falls", "stays", "rises"],
)

# %% [markdown]
# We can find out by an **intervention**: change one thing, leave the rest, and ask again. We
# know where the parasites are, so we paint them over (`erase_mark` fills a region from its
# surroundings). And a control is needed: painting over *anything* may upset a network. So we
# paint the same shape a second time, mirrored through the middle of the crop: there lies the same
# cell, without a parasite.

# %%
import cv2

rings = np.flatnonzero(test.labels == CLASS_NAMES.index("ring"))
grown = np.stack([cv2.dilate(m.astype(np.uint8), np.ones((3, 3))) > 0 for m in test.masks[rings]])
elsewhere = grown[:, ::-1, ::-1] & ~grown  # the rows and the columns turned round
covered = erase_mark(test.images[rings], grown)
control = erase_mark(test.images[rings], elsewhere)

three = rng.choice(len(rings), 3, replace=False)
panels = [group[i] for i in three for group in (test.images[rings], covered, control)]

# %% jupyter={"source_hidden": true}
cw.gallery(
    panels,
    ["a ring", "the ring painted over", "as much, elsewhere", *[""] * 6],
    columns=3,
    alt="Three cells, each three times: with its ring; with the ring painted over, where a pale "
    "patch remains; with its ring and an inconspicuous patch on the other side of the cell.",
)

# %%
ring = CLASS_NAMES.index("ring")
y_ring = scores(model, test_x[rings])
y_covered = scores(model, torch.as_tensor(to_tensor(covered)).float())
y_control = scores(model, torch.as_tensor(to_tensor(control)).float())
changes = [(other - y_ring)[:, ring].numpy() for other in (y_covered, y_control)]

# %% jupyter={"source_hidden": true}
figure = Figure((4.5, 3), layout="constrained")
axis = figure.subplots()
axis.boxplot(changes, widths=0.5)
axis.axhline(0, color="gray", linewidth=0.8)
axis.set_xticks([1, 2], ["parasite covered", "as much, elsewhere"])
axis.set(ylabel="change of the score", title="What covering does to the score of ring")
figure_picture(
    figure,
    "Two box plots. Parasite covered: nearly all changes below zero. As much covered elsewhere: "
    "a narrow box at zero.",
)

# %% jupyter={"source_hidden": true}
predict.reveal(
    "cover",
    "falls",
    "And the same patch on the other side of the cell hardly matters.",
)

# %%
falls = [float(np.median(change)) for change in changes]
still = [(new.argmax(dim=1) == ring).double().mean().item() for new in (y_covered, y_control)]
claim(
    "the parasite covered: the score falls",
    falls[0] < min(0, 3 * falls[1]),
    f"median {falls[0]:.2f}",
)
claim("as much covered elsewhere: hardly", abs(falls[1]) < 0.3, f"median {falls[1]:.2f}")
claim("parasite covered: fewer than half are still called ring", still[0] < 0.5, f"{still[0]:.0%}")
claim("as much covered elsewhere: more than half are", still[1] > 0.5, f"{still[1]:.0%}")

# %% jupyter={"source_hidden": true}
predict.reveal(
    "where",
    "the parasite",
    "At least: without the parasite there is no ring for the network, and a patch on the cell does "
    "not matter.",
)

# %% [markdown]
# This is evidence that the network *needs* the parasite: the same patch on the same cell, a little
# farther on, hardly matters. It took us a mask, which nobody has in real life, and it gave one
# answer per picture: yes, it needs this region. It does not say which part of the region counts,
# nor what else in the picture counts.

# %% [markdown]
# ## Keep your network
#
# The next lessons start from it. (If you skip this cell, they train one of their own.)

# %%
if history.finished:
    save(model, "gap")
    print("Kept: the next lessons start from it.")
else:
    print("Not kept, as its training was stopped: the next lesson trains one of its own.")

# %% [markdown]
# ## Key points
#
# - A CNN keeps *where* until the pooling; global average pooling leaves one number per map.
# - Judge on pictures that it never saw, beside a baseline, class by class.
# - Look at the errors *and* at a random sample; either alone misleads.
# - To learn what a network needs, change the picture, and change it elsewhere as a control.
#
# ## Quiz
#
# **1.** A network that always answers "uninfected" is tested on a hundred cells, five of them
# infected. Its accuracy? Is it any good? <details><summary>Answer</summary>95 %. It finds none
# of the infected cells: the row "infected" of its confusion matrix has everything in the wrong
# column. Always ask for the baseline and the rows.</details>
#
# **2.** Why `model.eval()` before we look into the network?
# <details><summary>Answer</summary>In training mode batch norm uses the statistics of the batch
# that it is given, and changes its own. A crop's scores would depend on the other crops beside
# it, and looking would change the network.</details>
#
# **3.** We covered the parasite and the score of "ring" fell. A friend covers the parasite with
# a black square, and the score falls too. Why is the friend's result worth less?
# <details><summary>Answer</summary>A black square is something that the network has never seen.
# The score may fall because the parasite is gone, or because a black square is there. The same
# square elsewhere, as a control, would tell.</details>
#
# ## What this does not show
#
# Train and test crops come from the same program. A test score says nothing about another
# microscope, another stain, or blood. And one training is one throw: another seed gives other
# errors.
#
# ## References
#
# - Lin, Chen, Yan: *Network in Network*, ICLR 2014, section 3.2 (global average pooling).
# - Ioffe, Szegedy: *Batch Normalization*, ICML 2015, section 3.1 (training and inference differ).
# - Zeiler, Fergus: *Visualizing and Understanding Convolutional Networks*, ECCV 2014, section 4.2
#   (covering parts of a picture).
# - Rajaraman et al.: *Pre-trained convolutional neural networks as feature extractors toward
#   improved malaria parasite detection*, PeerJ 2018 (the real cells that inspired `smear`).
#
# **Next.** [02 · CAM](02_cam.ipynb): the network knows where until the very last step. Can it *say*
# where, without a mask and without a hundred tries?
