# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 03b · The clinic: six programs with a symptom
#
# Here are two heat maps of one cell, both called Grad-CAM by their program, both from the same
# network, layer and class. One program is ill. Which one, and would you have noticed, had you seen
# only its picture?

# %%
from copy import deepcopy

import numpy as np
import torch

import camwidgets as cw
from camwidgets.course import (
    CLASS_NAMES,
    check,
    claim,
    hint,
    load_crops,
    predict,
    scores,
    to_tensor,
    trained,
)
from camwidgets.maps import record

# %% tags=["nbval-ignore-output"]
gap = trained("gap")  # yours from lesson 01; trained now (half a minute) if there is none

# %%
test = load_crops("test")
images, labels = to_tensor(test.images), torch.from_numpy(test.labels)
known = scores(gap, images).argmax(dim=1) == labels
TROPHO = CLASS_NAMES.index("trophozoite")
first = int(((labels == TROPHO) & known).nonzero()[0])
x, picture = images[first : first + 1], test.images[first]

recording = record(gap, x, ["blocks.3"])
A = recording.features["blocks.3"][0].detach()
alpha = recording.gradients(TROPHO)["blocks.3"][0].mean(dim=(1, 2))

# %% jupyter={"source_hidden": true}
warm = (1 + torch.einsum("k,kij->ij", alpha, A)).relu()
patch = torch.einsum("k,kij->ij", alpha, A).relu()
cw.heat_row(
    picture,
    [warm / warm.max(), patch / patch.max()],
    ["program P", "program Q"],
    scale="share of the map's maximum",
    alt="One cell under two maps: one glows over the whole picture, a little more on one side of "
    "the cell; the other is a warm patch at the parasite.",
)

# %% [markdown]
# **You will be able to**
#
# - *tell* from a symptom what is wrong with a program that draws maps,
# - *repair* the mistakes that Grad-CAM code on the web makes,
# - *test* map code so that the silent ones show: two images, a blank map, train mode.
#
# **About 25 minutes.** You need lesson 03. Two or three minutes a patient; leave what you like for
# later.

# %%
predict("ill", "Which program is ill?", ["P", "Q", "both", "neither"])

# %% [markdown] tags=["instructor"]
# **Instructor.** Works best in pairs, one patient per pair, then each pair tells its diagnosis in
# one sentence. Ask of each: "Would you have noticed?" Patients 1 to 3 shout (an exception); 4 to
# 6 are silent and therefore worse. For 2, ask what a hook that stays costs in a loop of a
# thousand images. When time is short: 1, 4 and 5.

# %% [markdown]
# # Those that shout
#
# ### Exercise 3b.1 · Patient 1: "It will not even run" (2 minutes, ★★)
#
# Given: `model`, `images` `(N, C, H, W)`, `layer` (a name). It should return the features of that
# layer, `(N, K, h, w)`. A second fault hides behind the first: which names contain `conv1`, if
# there is a `conv11`?


# %%
def broken_features_at(model, images, layer):
    x = images
    for name, module in model.named_modules():
        x = module(x)
        if layer in name:
            break
    return x


try:
    broken_features_at(gap, x, "blocks.1")
except Exception as error:
    print(type(error).__name__, "·", str(error).splitlines()[0])


# %% tags=["exercise"]
def features_at(model, images, layer):
    """Output (N, K, h, w) of the layer of exactly this name, for images (N, C, H, W)."""
    # solution
    kept = []
    module = model.get_submodule(layer)
    hook = module.register_forward_hook(lambda module, inputs, output: kept.append(output))
    model(images)
    hook.remove()
    return kept[0]
    # end solution


features_at = check("clinic.features_at", features_at)

# %%
hint("clinic.features_at")  # run it again for the next step

# %% [markdown]
# The first module of `named_modules()` is the whole net. A list of layers is not a recipe: only
# `forward` knows what happens between them. Let the model run, and listen.

# %% [markdown]
# ### Exercise 3b.2 · Patient 2: "The list is empty" (3 minutes, ★★)
#
# Given: `model`, `images` `(N, C, H, W)`, `layer` (a name), `target` (a class). It should return
# the gradient of that class's logit at the layer, `(N, K, h, w)`. Mend it, and then think of
# calling it twice.

# %%
gradients = []


def broken_gradient_at(model, images, layer, target):
    module = model.get_submodule(layer)
    module.register_full_backward_hook(lambda m, g_in, g_out: gradients.append(g_out[0]))
    model(images)[:, target].sum()
    return gradients[0]


patient = deepcopy(gap)
try:
    broken_gradient_at(patient, x, "blocks.3", TROPHO)
except Exception as error:
    print(type(error).__name__, "·", error)
print("hooks left behind:", len(patient.blocks[3]._backward_hooks))


# %% tags=["exercise"]
def gradient_at(model, images, layer, target):
    """Gradient (N, K, h, w) of the logit of class target with respect to a layer's output."""
    # solution
    gradients = []
    module = model.get_submodule(layer)
    hook = module.register_full_backward_hook(lambda m, g_in, g_out: gradients.append(g_out[0]))
    model(images)[:, target].sum().backward()
    hook.remove()
    return gradients[0]
    # end solution


gradient_at = check("clinic.gradient_at", gradient_at)

# %% [markdown]
# A backward hook waits for a backward pass. A list outside the function remembers the first image
# for ever, and a hook that stays does its work at every later pass. (`backward()` also fills
# `.grad` of all weights; `autograd.grad` does not.)

# %% [markdown]
# ### Patient 3: "The shapes do not fit"
#
# `features` are `(N, K, h, w)`, `alpha` is `(N, K)`: each image with its own weights. You wrote
# this sum in lessons 02 and 03, so this patient is only shown.


# %%
def broken_weighted_sum(features, alpha):
    return torch.bmm(alpha, features)


features, weights = torch.rand(3, 64, 16, 16), torch.rand(3, 64)
try:
    broken_weighted_sum(features, weights)
except Exception as error:
    print(type(error).__name__, "·", error)
print("einsum names the axes:", tuple(torch.einsum("nk,nkij->nij", weights, features).shape))

# %% [markdown]
# Worse than an exception is a `reshape` until the shapes fit: it runs, and mixes channels with
# positions.

# %% [markdown]
# # Those that are silent

# %% [markdown]
# ### Exercise 3b.3 · Patient 4: "Right for one image" (2 minutes, ★★)
#
# Given: `features` `(N, K, h, w)`, the classifier's `weight` `(classes, K)`, the logits `output`
# `(N, classes)`. It should return each image's CAM for its own top class, with signs, `(N, h, w)`.
# No exception this time.


# %%
def broken_top_class_maps(features, weight, output):
    c = output.argmax(dim=1)[0]
    maps = torch.einsum("k,nkij->nij", weight[c], features)
    return maps.squeeze()


kinds = [*range(1, len(CLASS_NAMES)), 0][:3]
three = images[[int(((labels == c) & known).nonzero()[0]) for c in kinds]]
batch = record(gap, three, ["blocks.3"]).features["blocks.3"].detach()
weight, y = gap.classifier.weight.detach(), scores(gap, three)
truth, sick = cw.cam(gap, three), broken_top_class_maps(batch, weight, y)
print("right:", [torch.allclose(sick[n], truth[n], atol=1e-4) for n in range(len(three))])
print("a batch of one:", tuple(broken_top_class_maps(batch[:1], weight, y[:1]).shape))


# %% tags=["exercise"]
def top_class_maps(features, weight, output):
    """Signed map (N, h, w) of each image's top class; weight is (classes, K)."""
    # solution
    return torch.einsum("nk,nkij->nij", weight[output.argmax(dim=1)], features)
    # end solution


top_class_maps = check("clinic.top_class_maps", top_class_maps)

# %% [markdown]
# Code that was tested on one image is right for the first image. `squeeze()` takes away every
# axis of length 1, also the one that you need: name the axis, or do not squeeze.

# %% [markdown]
# ### Exercise 3b.4 · Patient 5: "Everything glows" (3 minutes, ★★)
#
# Given: `features` `(K, h, w)` and `alpha` `(K,)`. It should return the Grad-CAM map divided by its
# maximum, `(h, w)`; a blank map stays zeros. Two symptoms: the background is warm,
# and where the map should be blank it is NaN.


# %%
def broken_accumulate(features, alpha):
    heat = np.ones(features.shape[1:])
    for k in range(len(features)):
        heat += float(alpha[k]) * np.asarray(features[k])
    heat = np.maximum(heat, 0)
    return heat / heat.max()


with np.errstate(invalid="ignore"):
    sick = broken_accumulate(torch.ones(2, 3, 4), torch.tensor([-1.0, -2.0]))
print("NaN where the map is blank:", bool(np.isnan(sick).all()))

# %%
sick, well = broken_accumulate(A, alpha), cw.normalize(cw.grad_cam(gap, x, target=TROPHO))[0]
claim("the same hottest position", sick.argmax() == int(well.argmax()))
claim("the coldest is warm in the patient's map", sick.min() > 0.3, float(sick.min()))

# %% jupyter={"source_hidden": true}
predict.reveal(
    "ill",
    "P",
    "It is this patient: the map was started from ones. On a picture alone nobody would have said.",
)


# %% tags=["exercise"]
def accumulate(features, alpha):
    """Grad-CAM from features (K, h, w) and alpha (K,), divided by its maximum; blank is blank."""
    # solution
    heat = torch.einsum("k,kij->ij", alpha, features).relu()
    return heat / heat.max() if heat.max() > 0 else heat
    # end solution


accumulate = check("clinic.accumulate", accumulate)

# %% [markdown]
# The order of the warm positions was right all along: a ranking would not have noticed. A small
# number in the divisor would cure the NaN and fade every small map instead.

# %% [markdown]
# ### Exercise 3b.5 · Patient 6: "It depends on the neighbours" (2 minutes, ★)
#
# Given: `model`, in either mode, and `images` `(N, C, H, W)`. It should return the logits
# `(N, classes)`, and leave the mode as it was. But the same cell, alone and among nine others, gets
# two different answers.


# %%
def broken_steady_scores(model, images):
    return model(images)


patient = deepcopy(gap).train()  # as it is after a training loop that was written by hand
with torch.no_grad():
    alone = broken_steady_scores(patient, images[first : first + 1])[0]
    among = broken_steady_scores(patient, images[[first, *range(0, len(images), 60)]])[0]
print("same logits:", torch.allclose(alone, among, atol=1e-3))


# %% tags=["exercise"]
def steady_scores(model, images):
    """Logits (N, classes) that depend on no other image, whichever mode the model is in."""
    # solution
    was_training = model.training
    model.eval()
    output = model(images)
    model.train(was_training)
    return output
    # end solution


steady_scores = check("clinic.steady_scores", steady_scores)

# %% [markdown]
# In train mode batch norm looks at the whole batch, and moves its statistics at every pass: looking
# changes the patient. (`train(flag)` sets all parts alike. `cw.grad_cam` gives each part its own
# mode back.)

# %% [markdown]
# ## Key points
#
# - Only `forward` knows how layers follow each other: let the model run, and listen.
# - What you register you remove; what you switch you switch back.
# - Name the axes. A `reshape` or `squeeze` that makes an error go away may make it silent.
# - Test map code on two images, on a batch of one, on a blank map, and in train mode.
#
# ## Quiz
#
# **1.** Your maps get a little slower with every image. Where do you look?
# <details><summary>Answer</summary>At the hooks. One that stays is called at every later pass, and
# often it keeps what it was given: memory grows too.</details>
#
# **2.** All maps of a batch look alike, as if asked for one class. What is the likely line?
# <details><summary>Answer</summary>A class taken from the first image and used for all, as in
# <code>argmax(dim=1)[0]</code>.</details>
#
# **3.** You add 1e-8 to the divisor against NaN. What does it cost?
# <details><summary>Answer</summary>A map whose maximum is about as small is faded: its hottest
# position is no longer 1. Ask whether there is any heat instead.</details>
#
# ## What this does not show
#
# Six patients are not all illnesses. A program without any of them may still show the wrong layer
# or the wrong class, and a right program may draw a map that means little; lesson 06 is about that.
#
# ## References
#
# - Selvaraju et al., *Grad-CAM*, ICCV 2017, equations 1 and 2: what a repaired program computes.
# - PyTorch's documentation of `torch.nn.Module.register_forward_hook` and
#   `register_full_backward_hook`.
#
# **Next.** [04 · Guided Grad-CAM](04_guided_grad_cam.ipynb): the blobs are coarse. Where *exactly*
# does the net look, and what is sharpness worth?
