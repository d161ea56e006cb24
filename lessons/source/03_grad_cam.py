# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 03 · Grad-CAM: a map for any network
#
# What if a network does not end in pooling and one linear layer? Here is one that has no classes at
# all, no "ring" and no "schizont": it looked at a field of blood cells and said one number. Below
# is a map of that number, in two colours. What do they say?

# %%
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

import camwidgets as cw
from camwidgets.course import (
    CLASS_NAMES,
    GapCNN,
    accuracy,
    check,
    claim,
    fit,
    hint,
    load_crops,
    load_fields,
    predict,
    scores,
    to_tensor,
    trained,
)
from camwidgets.maps import record
from camwidgets.pictures import figure_picture, heat_grid
from camwidgets.scoring import area, deletion, mass

# %% tags=["nbval-ignore-output"]
# Three networks; those that are not there yet are trained now, about half a minute each.
gap = trained("gap")

# %% tags=["nbval-ignore-output"]
flatten = trained("flatten")

# %% tags=["nbval-ignore-output"]
count = trained("count")

# %%
fields = load_fields("test")
rich = [(c > 0).sum() >= 3 and (c == 0).sum() >= 2 for c in fields.cell_classes]
chosen = rich.index(True)  # the first field with three infected cells and two others
field, field_image = fields.images[chosen], to_tensor(fields.images[chosen : chosen + 1])
number_map = cw.grad_cam(count, field_image, relu=False)[0]

# %% jupyter={"source_hidden": true}
cw.heat_row(
    field,
    [number_map],
    ["a map of one number"],
    signed=True,
    alt="A field of blood cells, and the same field under a map in two colours: strong red patches "
    "lie on most of the cells that hold a parasite, pale tints elsewhere and along the edge.",
)

# %% [markdown]
# **You will be able to**
#
# - *build* Grad-CAM from a hook and a gradient, and *prove* that it contains CAM,
# - *ask* any network for a map: any layer, any class, any number of your own,
# - *tell* what the mean of the slopes throws away, and when to use HiResCAM or LayerCAM instead.
#
# **About 85 minutes, in three parts.** You need lesson 02: CAM, and why it wants GAP + linear.
# Lesson 03b is its clinic: broken programs, each with its symptom.

# %% [markdown] tags=["instructor"]
# **Instructor.** Three parts: *one weight per map* (exercises 3.1 to 3.4), *any score* (3.5 to
# 3.8), *no classes at all* (3.9, film). Break after part one or two. Short of time: leave 3.3 to
# its reference and skip the film. Ask first: "If nobody told it what a cell is, what could red
# mean?" Collect, do not resolve.

# %% [markdown]
# # Part one: a weight is a slope
#
# ## Where does CAM stop?
#
# CAM reads its weights off the last layer. `FlattenCNN` has the same four blocks as your net and
# another end: pool to 4×4, flatten, linear, ReLU, linear. We take one cell that both nets get
# right.

# %%
test = load_crops("test")
images, labels = to_tensor(test.images), torch.from_numpy(test.labels)
y_gap, y_flat = scores(gap, images), scores(flatten, images)
both = (y_gap.argmax(dim=1) == labels) & (y_flat.argmax(dim=1) == labels)
TROPHO = CLASS_NAMES.index("trophozoite")
first = int(((labels == TROPHO) & both).nonzero()[0])
x, picture, mask = images[first : first + 1], test.images[first], test.masks[first]
try:
    cw.cam(flatten, x)
except ValueError as error:
    print(error)

# %%
predict(
    "weights",
    "In FlattenCNN, how many weights lead from ONE feature map, pooled to 4×4, to ONE unit of the "
    "next layer?",
    ["1", "4", "16", "64"],
)

# %%
first_linear = flatten.classifier[2]
print("weights of one unit:", first_linear.in_features, "for 64 feature maps")
assert first_linear.in_features == 16 * 64

# %% jupyter={"source_hidden": true}
predict.reveal(
    "weights",
    "16",
    "One for each position: no map has a weight of its own any more.",
)

# %% [markdown]
# So $w_k^c$ is gone. But what *was* it? In the GAP net it said how fast the score $y^c$ rises
# when feature map k rises. That is a slope, and a slope exists for any head: the gradient.

# %% [markdown]
# ## How do we get inside?
#
# A **forward hook** is a function that PyTorch calls each time a layer has run, with the layer,
# its inputs and its output. We keep the output, run the net once, and take the hook away again.
# Then `torch.autograd.grad` gives the slope of one logit for every value we kept.

# %%
kept = []
hook = gap.blocks[3].register_forward_hook(lambda module, inputs, output: kept.append(output))
y = gap(x)
hook.remove()

features = kept[0]
(gradient,) = torch.autograd.grad(y[0, TROPHO], features)
for name, tensor in {"logits": y, "features": features, "gradient": gradient}.items():
    print(name, tuple(tensor.shape))

# %%
predict(
    "slopes",
    "The gradient for one feature map of the GAP net is a table of 16×16 numbers. How many "
    "different numbers stand in it?",
    ["1", "about a dozen", "256"],
)

# %%
weight = gap.classifier.weight.detach()[TROPHO]
one_number = torch.allclose(gradient, gradient.mean(dim=(2, 3), keepdim=True), atol=1e-8)
claim("each table holds one number, repeated", one_number)
claim("it is w / (h·w)", torch.allclose(gradient[0, :, 0, 0], weight / 256, atol=1e-6))

# %% jupyter={"source_hidden": true}
predict.reveal(
    "slopes",
    "1",
    "GAP treats all positions alike, so one step up counts the same anywhere.",
)

# %% [markdown]
# There is the CAM weight again, divided by the 256 positions. Nobody read it off a layer.

# %% [markdown]
# ### Exercise 3.1 · One weight for each map (3 minutes, ★)
#
# In other nets the table holds different numbers. Grad-CAM takes their mean (Selvaraju et al.
# 2017, equation 1): $\alpha_k^c = \frac{1}{Z}\sum_i\sum_j \frac{\partial y^c}{\partial
# A^k_{ij}}$, with $Z = h \cdot w$.
#
# Given: `gradient` `(K, h, w)`. Return: the weights, `(K,)`. They have both signs: a map may
# speak for the class or against it.


# %% tags=["exercise"]
def alpha_weights(gradient):
    """One weight per feature map: the mean of its gradient (K, h, w) over the positions, (K,)."""
    # solution
    return gradient.mean(dim=(1, 2))
    # end solution


alpha_weights = check("grad_cam.alpha_weights", alpha_weights)

# %% [markdown]
# A mean of slopes leaves out how the slopes differ. And every slope holds only for a small step,
# from this image.

# %% [markdown]
# ### Exercise 3.2 · The map (4 minutes, ★★)
#
# Equation 2: $L^c = \mathrm{ReLU}\left(\sum_k \alpha_k^c A^k\right)$. First the sum, with all its
# signs; then ReLU.
#
# Given: `features` `(K, h, w)` and `alpha` `(K,)`. Return: the map `(h, w)`, never negative. It
# should look like the maps of lesson 02 with their blue half cut off.


# %% tags=["exercise"]
def heat_map(features, alpha):
    """ReLU of the weighted sum of the feature maps (K, h, w) with weights (K,): (h, w)."""
    # solution
    return torch.einsum("k,kij->ij", alpha, features).relu()
    # end solution


heat_map = check("grad_cam.heat_map", heat_map)


# %%
def floats(answer):
    """An exercise's answer, however it was written, as a float tensor without a graph."""
    if isinstance(answer, (list, tuple)):
        return torch.stack([floats(part) for part in answer])
    return torch.as_tensor(answer).detach().float()


heat = floats(heat_map(features[0].detach(), floats(alpha_weights(gradient[0]))))

# %% jupyter={"source_hidden": true}
cw.heat_row(
    picture,
    [heat],
    ["Grad-CAM, trophozoite"],
    mask=mask,
    alt="A cell with a trophozoite, its outline drawn, and the same cell under its Grad-CAM map: "
    "the warm patch lies on or beside the parasite.",
)

# %% [markdown]
# It looks like lesson 02. But looking alike proves nothing; the proof comes after exercise 3.4.

# %% [markdown]
# ### Exercise 3.3 · As large as the picture (4 minutes, ★★)
#
# Much code on the web writes 224 here. Your crops are 64×64, the fields 128×128, and a photograph
# is seldom square.
#
# Given: `heats` `(N, h, w)` and `images` `(N, C, H, W)`. Return: the maps at the images' size,
# `(N, H, W)`, bilinear with `align_corners=False`. The values stay: nothing gets sharper.


# %% tags=["exercise"]
def upsample_to(heats, images):
    """Maps (N, h, w) enlarged to the size of the images (N, C, H, W), bilinear: (N, H, W)."""
    # solution
    size = images.shape[2:]
    return F.interpolate(heats[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    # end solution


upsample_to = check("grad_cam.upsample_to", upsample_to)

# %%
large = floats(upsample_to(heat[None], x))
claim("the same as cw.upsample", torch.allclose(large[0], cw.upsample(heat, 64), atol=1e-5))

# %% [markdown]
# One thing is easily overlooked: ReLU and enlarging do not commute. Between a position of +1 and
# one of −1 the enlarged *signed* map crosses zero half way; if ReLU comes first, the −1 is 0
# already and the heat reaches all the way. The paper applies ReLU to the small map, and so do we.

# %%
signed_map = cw.grad_cam(gap, x, "blocks.3", TROPHO, relu=False)
first_relu, first_large = (
    cw.upsample(signed_map.relu(), 64)[0],
    cw.upsample(signed_map, 64)[0].relu(),
)
wider = ((first_relu > 0).float().mean(), (first_large > 0).float().mean())
claim("ReLU first: more of the picture is warm", wider[0] > wider[1], *(f"{w:.0%}" for w in wider))

# %% jupyter={"source_hidden": true}
cw.heat_row(
    picture,
    [first_relu, first_large, 20 * (first_relu - first_large)],
    ["ReLU, then enlarged", "enlarged, then ReLU", "the difference × 20"],
    alt="Three maps of one cell on one scale: the first reaches a little farther than the second; "
    "the difference is a thin seam round the warm patch.",
)

# %% [markdown]
# <details><summary><b>Help, I get
# <code>ValueError: Input and output must have the same number of spatial dimensions, but got
# input with spatial dimensions of [16] and output size of (64, 64)</code></b></summary>
#
# `F.interpolate` takes (N, channels, h, w). Your maps have no channels: give them one with
# `heats[:, None]`, and take it away again at the end with `[:, 0]`. </details>

# %% [markdown]
# ### Exercise 3.4 · Hook and gradient in one function (8 minutes, ★★★)
#
# Put hook, forward pass and gradient from above into one function, for any model, any layer and any
# number of images. `model.get_submodule("blocks.3")` finds a layer by its dotted name.
#
# Given: `model`, `images` `(N, C, H, W)`, `layer` (a name), `target` (a class). Return: the
# features and the gradient of the logit of class `target`, both `(N, K, h, w)`. Leave no hook
# behind.


# %% tags=["exercise"]
def features_and_gradient(model, images, layer, target):
    """Features of a layer and the gradient of the target's logit there, each (N, K, h, w)."""
    # solution
    kept = []
    module = model.get_submodule(layer)
    hook = module.register_forward_hook(lambda module, inputs, output: kept.append(output))
    output = model(images)
    hook.remove()
    (gradient,) = torch.autograd.grad(output[:, target].sum(), kept[0])
    return kept[0].detach(), gradient
    # end solution


features_and_gradient = check("grad_cam.features_and_gradient", features_and_gradient)

# %%
hint("grad_cam.features_and_gradient")  # run it again for the next step

# %% [markdown]
# Why may we sum over the images? Because in eval mode no image influences another one's logit:
# the gradient of the sum holds each image's own gradient.
#
# <details><summary><b>Help, I get
# <code>RuntimeError: grad can be implicitly created only for scalar outputs</code></b></summary>
#
# `autograd.grad` wants one number. `output[:, target]` holds one per image: add `.sum()`.
# </details>
#
# <details><summary><b>Help, I get
# <code>RuntimeError: element 0 of tensors does not require grad and does not have a
# grad_fn</code></b></summary>
#
# The forward pass ran under `torch.no_grad()`, or you detached the features before you asked for
# the gradient. Detach at the end. </details>
#
# <details><summary><b>Help, I get
# <code>RuntimeError: The differentiated Tensor at index 0 appears to not have been used in the
# graph</code></b></summary>
#
# You asked for the gradient with respect to a copy, such as `kept[0].clone()`, that the score
# never saw. Ask with respect to the very tensor that the hook was given.
# </details>

# %% [markdown]
# ## Is it CAM?
#
# Now the proof, on ten test cells taken by a rule (each fiftieth). Three of your functions against
# `cw.cam`, which reads the weights off the last layer and knows no gradient.

# %%
ten = images[::50]
A, g = features_and_gradient(gap, ten, "blocks.3", TROPHO)
pairs = zip(floats(A), floats(g), strict=True)
mine = floats([heat_map(a, floats(alpha_weights(slope))) for a, slope in pairs])

cam = cw.cam(gap, ten, target=TROPHO) / 256
theirs = cw.grad_cam(gap, ten, target=TROPHO, relu=False)
claim("your Grad-CAM is the ReLU of CAM / (h·w)", torch.allclose(mine, cam.relu(), atol=1e-5))
claim("cw.grad_cam without ReLU is CAM / (h·w)", torch.allclose(theirs, cam, atol=1e-5))

# %% [markdown]
# On a GAP net, Grad-CAM *is* CAM, up to a constant and ReLU. And it does not need the GAP net.
#
# ## And the picture at the top?
#
# Now you can read it. The network said one number, so the score is that number, and the map is its
# Grad-CAM without ReLU. Red places push the number up, blue ones pull it down. In this network they
# even add up to it:

# %%
said = scores(count, field_image).item()
told = f"{said:.2f}", f"{fields.counts[chosen]:.0f} infected cells are there"
claim("the map adds up to the number", abs(number_map.sum().item() - said) < 0.01, *told)

# %% [markdown]
# Red means "counts more", blue "counts less". Nobody told the network what a cell is. Part three
# comes back to this picture, with all its cells.

# %% [markdown] tags=["instructor"]
# **Instructor.** People get stuck on two things. (1) "Why sum the logits of different images?"
# Draw two images and two logits with no arrow across; in train mode there *are* arrows (batch
# norm), see the clinic. (2) "Gradient with respect to what?" Not the weights, not the pixels: the
# layer's output. Good place for a break.

# %% [markdown]
# # Part two: any layer, any head, any score
#
# ## What does the Flatten net look at?
#
# `cw.layer_names` lists every layer that gives a map. The last one of this net is its pooling
# layer.

# %%
names = cw.layer_names(flatten, x)
print("the last three:", names[-3:])
coarse = cw.grad_cam(flatten, x, "classifier.0", TROPHO)
finer = cw.grad_cam(flatten, x, "blocks.3", TROPHO)

# %% jupyter={"source_hidden": true}
cw.heat_row(
    picture,
    [cw.normalize(coarse)[0], cw.normalize(finer)[0]],
    ["classifier.0: 4×4", "blocks.3: 16×16"],
    scale="share of the map's maximum",
    mask=mask,
    alt="The cell and two maps of the same score, each divided by its maximum: at 4 by 4 one broad "
    "blob, at 16 by 16 a smaller one.",
)

# %% [markdown]
# A 4×4 map has 16 positions for the whole picture: one covers 16×16 pixels, about as much as a
# whole ring. Enlarging it makes a soft blob, and the softness is ours. A blob of this size can
# neither show nor deny that the net looks at the parasite rather than at the cell.

# %% [markdown]
# ## What does the mean throw away?
#
# A ReLU net is linear in small regions: features times slopes, summed over all positions, give
# back the score (up to a constant from the biases). Grad-CAM replaces the slopes of a map by
# their mean. Leave the mean out, and each position keeps its own slope:
#
# $$L^c_{ij} = \sum_k \frac{\partial y^c}{\partial A^k_{ij}} A^k_{ij}$$
#
# That is **HiResCAM** (Draelos and Carin 2020). Below are both for the Flatten net, over every
# second infected cell. (`record` is your `features_and_gradient` for several layers at once.)

# %%
some = labels.nonzero()[::2, 0]  # every second infected cell, asked for its own class
inside = torch.from_numpy(test.masks[some])


def layer_maps(model, layer):
    """Signed maps (N, h, w) of a layer by four rules."""
    recording = record(model, images[some], [layer])
    A, g = recording.features[layer].detach(), recording.gradients(labels[some])[layer]
    return {
        "Grad-CAM": (g.mean(dim=(2, 3), keepdim=True) * A).sum(dim=1),
        "HiResCAM": (g * A).sum(dim=1),
        "LayerCAM": (g.clamp(min=0) * A).sum(dim=1),
    }


y_some = y_flat[some].gather(1, labels[some, None])[:, 0]
by_rule = layer_maps(flatten, "blocks.3")
off = {
    rule: ((y_some - heat.sum(dim=(1, 2))) / y_some).abs().median().item()
    for rule, heat in by_rule.items()
}
theirs = cw.hires_cam(flatten, images[some], "blocks.3", labels[some], relu=False)
claim("the same map as cw.hires_cam", torch.allclose(theirs, by_rule["HiResCAM"], atol=1e-4))
claim(
    "HiResCAM adds up to the score, within a few per cent", off["HiResCAM"] < 0.05, off["HiResCAM"]
)
claim("Grad-CAM is off by more than a third of it", off["Grad-CAM"] > 1 / 3, off["Grad-CAM"])

# %% jupyter={"source_hidden": true}
kinds = range(1, len(CLASS_NAMES))[:3]
three = [int((labels[some] == c).nonzero()[3]) for c in kinds]
heat_grid(
    test.images[some[three].numpy()],
    [[cw.normalize(by_rule[rule])[k] for rule in ("Grad-CAM", "HiResCAM")] for k in three],
    ["Grad-CAM", "HiResCAM"],
    rows=[CLASS_NAMES[c] for c in kinds],
    masks=test.masks[some[three].numpy()],
    scale="share of the map's maximum",
    alt="Three infected cells with two maps of the Flatten net each. Grad-CAM is warm on the "
    "parasite and in other parts of the picture; HiResCAM keeps closer to the parasite.",
)

# %%
large = {rule: cw.upsample(heat.relu(), 64) for rule, heat in by_rule.items()}
on_parasite = {rule: mass(heat, inside).nanmean().item() for rule, heat in large.items()}
more = on_parasite["HiResCAM"] > on_parasite["Grad-CAM"] + 0.05
claim(
    "more of HiResCAM lies on the parasite", more, on_parasite["HiResCAM"], on_parasite["Grad-CAM"]
)

# %% tags=["nbval-ignore-output"]
few = slice(None, None, 4)
for rule in ("Grad-CAM", "HiResCAM"):
    curve = deletion(flatten, images[some[few]], large[rule][few], labels[some[few]], steps=10)
    print(f"deletion, area under the curve (low is good): {rule} {area(curve).mean():.3f}")

# %% [markdown]
# In the GAP net the mean loses nothing; that was the proof above, and the two are one map there. In
# the Flatten net it loses most of the sum: a position's slope depends on where it is, and the mean
# forgets that. HiResCAM is the score spread out, by the net's own arithmetic; Grad-CAM is a linear
# story, averaged, told at one point.
#
# Does that make HiResCAM better? By its sum and by the masks, yes. By *deletion* (take the hottest
# pixels away and watch the score, lesson 06) it depends: with our training Grad-CAM's order falls a
# little faster, with another training HiResCAM's. The mean is smoother, and smooth patches delete
# well. Say which question you ask.

# %% [markdown]
# ## And at earlier layers?
#
# **LayerCAM** (Jiang et al. 2021) keeps each position's slope where it is positive. In the GAP
# net's last layer all positions of a map have one slope, so there it can only drop the maps with a
# negative weight. Earlier, where the maps are finer, the slopes differ, and HiResCAM and LayerCAM
# both keep them.

# %%
lying = {rule: [] for rule in ("Grad-CAM", "HiResCAM", "LayerCAM")}
for k in range(4):
    for rule, heat in layer_maps(gap, f"blocks.{k}").items():
        lying[rule].append(mass(cw.upsample(heat.relu(), 64), inside).nanmean().item())
early = lying["LayerCAM"][0], lying["Grad-CAM"][0]
claim(
    "blocks.0: three times as much heat on the parasite by LayerCAM",
    early[0] > 3 * early[1],
    *early,
)
early = lying["LayerCAM"][1], lying["Grad-CAM"][1]
claim("blocks.1: half as much again, or more", early[0] > 1.5 * early[1], *early)
both = lying["HiResCAM"][:2], lying["LayerCAM"][:2]
near = all(hires > layer - 0.1 for hires, layer in zip(*both, strict=True))
claim("HiResCAM at both: as much as LayerCAM, or within a tenth", near, *both[0])

# %% jupyter={"source_hidden": true}
figure = Figure((7, 2.8), layout="constrained")
axis = figure.subplots()
styles = {
    "Grad-CAM": ("-o", "#0072b2"),
    "HiResCAM": ("--s", "#e69f00"),
    "LayerCAM": (":^", "#009e73"),
}
for rule, (style, colour) in styles.items():
    axis.plot(range(4), lying[rule], style, color=colour, label=rule)
axis.axhline(inside.float().mean(), color="0.6", lw=1, label="knows nothing")
axis.set_xticks(range(4), [f"blocks.{k}" for k in range(4)])
axis.set(ylim=(0, 1), ylabel="share of the heat on the parasite")
axis.set_title("The mean spoils the early layers, not the layers themselves", fontsize=10)
axis.legend(fontsize=9)
figure_picture(
    figure,
    "Three curves over the four blocks. At the last block all three meet. At the first, LayerCAM "
    "and HiResCAM have most of their heat on the parasite, Grad-CAM next to none.",
)

# %% [markdown]
# So "early layers are useless" is about the *mean*, not about the layers: a map of edges means
# something only together with where it is. (That LayerCAM's early maps lie on the parasite does not
# yet mean that they are about the class. Lesson 06 asks.)

# %% [markdown]
# ## Which layer, which class?
#
# Nothing ties us to the last layer or to the winning class. Here is every block and every class.
# Each column is a layer of the GAP net and has a scale of its own: all five classes divided by
# the column's maximum.

# %%
layers, classes = [f"blocks.{i}" for i in range(4)], range(len(CLASS_NAMES))
grid = [torch.cat([cw.grad_cam(gap, x, layer, c) for c in classes]) for layer in layers]
grid = [maps / maps.max().clamp(min=1e-30) for maps in grid]

# %% jupyter={"source_hidden": true}
heat_grid(
    [picture] * len(classes),
    [[maps[c] for maps in grid] for c in classes],
    layers,
    rows=CLASS_NAMES,
    scale="share of the column's maximum",
    alt="Five rows for the classes, four columns for the layers. The early layers show frames, "
    "stain or nothing; the last layer shows blobs, the one for trophozoite near the parasite.",
)

# %%
share = inside.float().mean().item()  # what a map that knows nothing would put on the parasite
last = lying["Grad-CAM"][3]
claim("last layer: over 1.5 times what the area would get", last > 1.5 * share, last, share)

# %% [markdown]
# Grad-CAM's early layers are hard to read, as you measured. A frame
# that glows is the zero padding, not blood. A panel marked **blank** has a weighted sum that is
# nowhere positive, so ReLU leaves zeros: "at this layer, on average, nothing speaks for this
# class". Do not stretch it until something glows, and do not choose the layer that shows what you
# hoped for.

# %% [markdown]
# ## Is a map an argument?
#
# One row asks for the five classes on one scale. The other divides each map by its own maximum,
# as much plotting code does.

# %%
five = torch.cat([cw.grad_cam(flatten, x, "blocks.3", c) for c in classes])

# %% jupyter={"source_hidden": true}
heat_grid(
    [picture, picture],
    [list(five / five.max()), list(cw.normalize(five))],
    CLASS_NAMES,
    rows=["one scale", "each on its own"],
    scale="share of the maximum",
    alt="Two rows of five maps. On one scale the classes differ in strength; with each map on its "
    "own scale every class that is not blank glows as brightly as the right one.",
)

# %% [markdown]
# A wrong class has its hottest place too, and on its own scale it glows as brightly as the right
# one. The map answers "*if* the score of this class rose, where from?". It does not say that the
# class is there. A map of a wrong class is not an argument; neither is a map of the right one.

# %% [markdown]
# ### Exercise 3.5 · A whole batch (5 minutes, ★★)
#
# Given: `features` and `gradients`, both `(N, K, h, w)`. Return: the Grad-CAM maps `(N, h, w)`,
# with the mean of each map's slopes as its weight (leave the mean out and you have HiResCAM).
# `einsum` names the axes: n for the image, k for the map, i and j for the position. Try it on a
# batch of one in your head, too.


# %% tags=["exercise"]
def batch_maps(features, gradients):
    """Grad-CAM of every image: features and gradients (N, K, h, w) to maps (N, h, w)."""
    # solution
    alpha = gradients.mean(dim=(2, 3))
    return torch.einsum("nk,nkij->nij", alpha, features).relu()
    # end solution


batch_maps = check("grad_cam.batch_maps", batch_maps)

# %% [markdown]
# A batch is how you look at many: not the best six, but six drawn by a seed.

# %%
six = np.random.default_rng(3).choice(np.flatnonzero(labels), 6, replace=False)
y_six = y_flat[six].argmax(dim=1)
recording = record(flatten, images[six], ["blocks.3"])
A, g = recording.features["blocks.3"].detach(), recording.gradients(y_six)["blocks.3"]
heats = cw.normalize(floats(batch_maps(A, g)))
overlays = [cw.overlay(test.images[i], heats[n], 0.8) for n, i in enumerate(six)]
verdicts = ["right" if right else "wrong" for right in y_six == labels[six]]

# %% jupyter={"source_hidden": true}
cw.gallery(
    [*test.images[six], *overlays],
    [*(f"{CLASS_NAMES[c]}: {v}" for c, v in zip(labels[six], verdicts, strict=True)), *[""] * 6],
    columns=6,
    alt="Six infected cells drawn at random, and below each its map for the net's answer, each on "
    "a scale of its own. The maps are hottest on or at the parasite and warm beside it.",
)

# %% [markdown]
# ## Which of the two, and why?
#
# Take the test cell on which the Flatten net is least sure: the smallest gap between its two
# highest logits. A map of each class shows what they share. As in lesson 02 we want what tells them
# apart, now for any head.

# %%
top = y_flat.topk(2, dim=1)
unsure = int((top.values[:, 0] - top.values[:, 1]).argmin())
a, b = top.indices[unsure].tolist()
doubt = images[unsure : unsure + 1]

# %% [markdown]
# ### Exercise 3.6 · A score of your own (2 minutes, ★)
#
# `cw.grad_cam` takes any function of the model's output as its target, one score per image.
#
# Given: `output` `(N, classes)`, classes `a` and `b`. Return: by how much a's logit lies above
# b's, `(N,)`.


# %% tags=["exercise"]
def difference(output, a, b):
    """Logit of class a minus logit of class b, for logits (N, classes): (N,)."""
    # solution
    return output[:, a] - output[:, b]
    # end solution


difference = check("grad_cam.difference", difference)


# %%
def signed(target):
    return cw.grad_cam(flatten, doubt, "blocks.3", target, relu=False)[0]


map_a, map_b, map_ab = signed(a), signed(b), signed(lambda y: y[:, a] - y[:, b])
claim("signed maps subtract like their scores", torch.allclose(map_a - map_b, map_ab, atol=1e-4))

# %% jupyter={"source_hidden": true}
cw.heat_row(
    test.images[unsure],
    [map_a, map_b, map_ab],
    [f"first: {CLASS_NAMES[a]}", f"second: {CLASS_NAMES[b]}", "first minus second"],
    signed=True,
    mask=test.masks[unsure],
    alt="The cell the net is least sure of, and three maps in red and blue: its first choice, its "
    "second choice, and their difference. Red in the last speaks for the first choice.",
)

# %% [markdown]
# The last panel shows what decided between the two. Red pulls to the first choice, blue to the
# second. The subtraction is exact because everything up to ReLU is linear in the score; after
# ReLU it is not. `signed(lambda y: difference(y, a, b))` gives the same panel, if your function
# returns a tensor that kept its graph: a list of floats has no slope.

# %% [markdown]
# ## What speaks against a class?
#
# Back to the trophozoite. The Flatten net does not call that cell "uninfected". What holds it
# back?
#
# ### Exercise 3.7 · The counterfactual map (4 minutes, ★★)
#
# Grad-CAM's ReLU hides what lowers the score. Turn the sign of the gradient and it comes to
# light. The paper calls that a *counterfactual* map: what would have to go for the score to rise.
#
# Given: `features` and `gradient`, both `(K, h, w)`. Return: the map of what lowers the score,
# `(h, w)`, never negative. `alpha_weights` and `heat_map` are ready; if yours give back lists or
# arrays, `floats(...)` makes tensors of them.


# %% tags=["exercise"]
def counterfactual(features, gradient):
    """Grad-CAM with the gradient's sign turned, from features and gradient (K, h, w): (h, w)."""
    # solution
    return heat_map(features, alpha_weights(-gradient))
    # end solution


counterfactual = check("grad_cam.counterfactual", counterfactual)

# %%
CLEAN = CLASS_NAMES.index("uninfected")
A, g = features_and_gradient(flatten, x, "blocks.3", CLEAN)
against = floats(counterfactual(floats(A)[0], floats(g)[0]))
both_signs = cw.grad_cam(flatten, x, "blocks.3", CLEAN, relu=False)[0]
same = torch.allclose(against, (-both_signs).relu(), atol=1e-4)
claim("it is the negative part of the signed map", same)

# %% jupyter={"source_hidden": true}
cw.heat_row(
    picture,
    [both_signs.relu(), against],
    ['for "uninfected"', 'against "uninfected"'],
    mask=mask,
    alt="The trophozoite and two maps on one scale. For uninfected: the red of the cell. Against "
    "uninfected: a patch on the parasite and beside it.",
)

# %%
signed_maps = cw.grad_cam(flatten, images[some], "blocks.3", CLEAN, relu=False)
against_it = mass(cw.upsample((-signed_maps).relu(), 64), inside).nanmean().item()
claim("against: over twice what the area would get", against_it > 2 * share, against_it, share)

# %% [markdown]
# The parasite would have to go; that agrees with common sense, and on 200 cells with the masks. Yet
# nothing here is new: it is the blue half of the signed map, with a sign of its own. So this
# course stores signed maps and applies ReLU last. "Would have to go" is a guess, too: to know,
# take it away and look at the score. Lesson 05 does.

# %% [markdown]
# ## Why logits and not probabilities?
#
# Softmax ends between 0 and 1, and people like percentages. Let us ask for the gradient of the
# probability instead.

# %%
predict(
    "softmax",
    "The net is 99.9 % sure of a class. The slope of that probability, compared with the slope of "
    "the logit, is …",
    ["about the same", "about ten times smaller", "about a thousand times smaller"],
)

# %% [markdown]
# ### Exercise 3.8 · The slope of a softmax (5 minutes, ★★)
#
# Let p be the softmax of class `target`, and y its logit. How fast does p rise with y?
#
# Given: `output`, logits `(N, classes)`, and `target`. Return: dp/dy, while the other
# logits stay as they are: one factor per image, `(N,)`. A formula or autograd, as you like.


# %% tags=["exercise"]
def softmax_factor(output, target):
    """Derivative of the softmax of class target by its own logit, for logits (N, classes): (N,)."""
    # solution
    p = output.softmax(dim=1)[:, target]
    return p * (1 - p)
    # end solution


softmax_factor = check("grad_cam.softmax_factor", softmax_factor)

# %%
nearly_sure = torch.tensor([[0.0, 0.0, np.log(1998.0)]]).float()  # 99.9 % for class 2
factor = floats(softmax_factor(nearly_sure, 2))[0]
print(f"at 99.9 %: {factor:.4f}")
p = y_flat.softmax(dim=1).amax(dim=1)
median = (p * (1 - p)).median().item()
claim("on the test cells the median factor is below 0.05", median < 0.05, f"{median:.4f}")

# %% jupyter={"source_hidden": true}
predict.reveal(
    "softmax",
    "about a thousand times smaller",
    "p (1 - p) is 0.999 · 0.001: softmax is flat where it is sure.",
)

# %%
surest = int((p * (labels == TROPHO)).argmax())
sure = images[surest : surest + 1]
by_logit = cw.grad_cam(flatten, sure, "blocks.3", TROPHO)[0]
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    by_softmax = cw.grad_cam(flatten, sure, "blocks.3", lambda y: y.softmax(dim=1)[:, TROPHO])[0]
print(*(f"camwidgets warns: {warning.message}" for warning in said))

# %% jupyter={"source_hidden": true}
cw.heat_row(
    test.images[surest],
    [by_logit, by_softmax],
    ["slope of the logit", "slope of the softmax"],
    alt="The trophozoite of which the net is surest, and two maps on one scale: the logit's map is "
    "warm, the softmax's map is empty.",
)

# %% [markdown]
# The surer the net, the emptier its softmax map. Put on a scale of its own it glows again, but
# then it mixes in the slopes of all the other classes and, at the end, rounding noise. So:
# logits.

# %% [markdown] tags=["instructor"]
# **Instructor.** Second place for a break. If the room is quick: ask what log-softmax would do
# (its own-logit slope is 1 - p, so it fades too). If it is slow: skip 3.8 and show the two maps
# alone.

# %% [markdown]
# # Part three: no classes at all
#
# ## Where does a number come from?
#
# `CountCNN` says how many infected cells a field holds. Its output is one number y, so there is
# nothing to choose: the score is y. Here is the opening picture again, without ReLU, with it, and
# the part that it hides.

# %%
after_relu, hidden = number_map.relu(), (-number_map).relu()

# %% jupyter={"source_hidden": true}
cw.heat_row(
    field,
    [number_map / number_map.max(), after_relu / number_map.max(), -hidden / hidden.max()],
    ["both signs", "after ReLU", "what ReLU hid, own scale"],
    scale="share of the maximum",
    signed=True,
    mask=fields.parasites[chosen],
    alt="The field under three maps. With both signs and after ReLU: red on most of the infected "
    "cells, one of them pale. The part that ReLU hid, on a scale of its own: blue along the edge "
    "and on clean cells.",
)

# %%
forty, truth = to_tensor(fields.images[:40]), torch.from_numpy(fields.counts[:40])
y_fields = scores(count, forty)
baseline = (truth - truth.mean()).abs().mean()  # the error of one who always says the mean
wrong = (y_fields - truth).abs().mean()
claim("nearer than always saying the mean", wrong < 0.8 * baseline, wrong.item(), baseline.item())

maps = cw.grad_cam(count, forty, relu=False)
exact = torch.allclose(maps.sum(dim=(1, 2)), y_fields, atol=1e-2)
claim("each signed map adds up to its number", exact)
hidden_share = ((-maps).relu().sum(dim=(1, 2)) / y_fields.abs()).median().item()
claim("ReLU hides over a tenth of most numbers", hidden_share > 0.1, f"{hidden_share:.0%}")

# %% [markdown]
# As at the end of part one: red adds to the count, blue takes away. For "which class?" ReLU
# may be a fair choice, since blue often belongs to the rivals. For "how many?" it hides what was
# taken away; the prints above are about forty fields. A parasite that stays pale was missed. A
# tinted edge is the zero padding, which the net also counts with.
#
# This net makes it easy: it ends in one map, `density`, and adds it up, so Grad-CAM hands back that
# very map, and the sum is exact. Ask an earlier layer, or a net with a Flatten head, and you get a
# map as well, but it need not add up to the number.

# %%
predict(
    "per cell",
    "We add the map up inside each cell's outline, then draw one infected and one clean cell. How "
    "often has the infected one the larger sum?",
    ["half of the time", "three times in four", "nearly always"],
)

# %%
fine = cw.upsample(maps, 128) / 16  # 16 pixels share what one position had
cells = torch.from_numpy(fields.cells[:40])
sums, infected = [], []
for i, kinds in enumerate(fields.cell_classes[:40]):
    for k, kind in enumerate(kinds, start=1):
        sums.append(fine[i][cells[i] == k].sum().item())
        infected.append(kind > 0)
sums, infected = np.array(sums), np.array(infected)

# %% jupyter={"source_hidden": true}
figure = Figure((6, 2.6), layout="constrained")
axis = figure.subplots()
for name, which in {"clean cells": ~infected, "infected cells": infected}.items():
    axis.hist(sums[which], bins=np.arange(-0.5, 1.6, 0.05), alpha=0.7, label=name)
axis.set(xlabel="sum inside one cell", ylabel="cells", title="infected cells add more, not 1 each")
axis.legend()
figure_picture(
    figure,
    alt="Two heaps: clean cells lie near zero or a little below, infected cells spread to the "
    "right of them.",
)

# %%
won = (sums[infected][:, None] > sums[~infected]).mean()
outside = (fine * (cells == 0)).sum(dim=(1, 2)).abs().mean().item()
beyond = outside / y_fields.mean().item()
claim("the infected cell has more in over nine of ten pairs", won > 0.9, f"{won:.0%}")
claim("over a fifth of the number lies outside every cell", beyond > 0.2, f"{beyond:.0%}")

# %% jupyter={"source_hidden": true}
predict.reveal(
    "per cell",
    "nearly always",
    "Nobody told the net what a cell is; it learned that from whole fields and their numbers.",
)

# %% [markdown]
# It would be a fine story if each infected cell added one. Read the axis: they do not. And over a
# fifth of the number lies outside every cell: soft rims, background, the edge of the field. Only
# the total was ever compared with the truth, so the net is free to put it there. A map is not a
# list of counted cells.

# %% [markdown]
# ### Exercise 3.9 · A target of your own (3 minutes, ★)
#
# "Why is the answer near 3?" needs a score that is highest where the net says 3.
#
# Given: `output` `(N,)` and `count`, a number t. Return: $-(y - t)^2$ for each image, `(N,)`, so
# 0 where the net says t and below 0 everywhere else.


# %% tags=["exercise"]
def near_count(output, count):
    """Minus the squared distance of the predictions (N,) from a number: (N,)."""
    # solution
    return -((output - count) ** 2)
    # end solution


near_count = check("grad_cam.near_count", near_count)

# %%
predict(
    "near",
    "We ask for a map of -(y - t)², with t exactly what the net says. We see …",
    ["the same map as for y", "the same map, colours swapped", "a blank map"],
)

# %%
said = scores(count, field_image).item()
near = [
    cw.grad_cam(count, field_image, target=lambda y, t=t: -((y - t) ** 2), relu=False)[0]
    for t in (said - 2, said, said + 2)
]
near[1] = near[1] * (near[1].abs() > 1e-4)  # rounding noise of y - t

# %% jupyter={"source_hidden": true}
cw.heat_row(
    field,
    near,
    ["t two below y", "t = y: at the top", "t two above y"],
    signed=True,
    alt="Three maps of the distance to a number. For a number below the prediction the infected "
    "cells are blue, for one above they are red, and in between the map is blank.",
)

# %%
claim("t = y: the map is blank", not near[1].any())
claim("t two above: the map of y, times 4", torch.allclose(near[2], 4 * number_map, atol=1e-3))
claim("t two below: times −4", torch.allclose(near[0], -4 * number_map, atol=1e-3))

# %% jupyter={"source_hidden": true}
predict.reveal(
    "near",
    "a blank map",
    "On top of a hill the slope is zero, whatever lies below.",
)

# %% [markdown]
# By the chain rule all three are one map, times $-2(y - t)$. So a clever target brought no new
# knowledge here, and the blank map is an answer: "a small step changes nothing". A gradient tells
# about small steps. For "what if this cell were gone?" paint it over and count again.

# %% [markdown]
# ## When does a map grow?
#
# `fit` calls each callback after every epoch. Ours asks for the maps of three fixed cells, for
# their fixed true classes, and keeps them. We train a fresh GAP net on every second crop: some
# fifteen seconds, more on a slow computer; the bar counts batches. (Stopped it? The strip below
# shows the epochs that were reached.)
#
# While it runs: which of the three cells will be found first?

# %%
train = load_crops("train")
# the first ring, trophozoite and schizont of the test set
star = [int((labels == c).nonzero()[0]) for c in range(1, len(CLASS_NAMES))[:3]]
fixed, own_classes = images[star], labels[star]
frames = []


def film(epoch, model, history):
    frames.append(cw.grad_cam(model, fixed, "blocks.3", own_classes))


# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
young = GapCNN()
frames.clear()  # of an earlier run of this cell
film(0, young, None)  # before the first step
half, answers = to_tensor(train.images[::2]), torch.from_numpy(train.labels[::2])
history = fit(young, half, answers, epochs=6, callbacks=[film])

# %% jupyter={"source_hidden": true}
heat_grid(
    test.images[star],
    [[frame[i] for frame in frames] for i in range(len(star))],
    ["before", *(f"epoch {e}" for e in range(1, len(frames)))],
    rows=[CLASS_NAMES[c] for c in own_classes],
    masks=test.masks[star],
    alt="A film strip: three cells in rows, seven moments of training in columns, one scale. The "
    "first frames are dark, the later ones glow.",
)

# %%
strength = [frame.max().item() for frame in frames]
if not history.finished:
    print("Stopped early: the strip ends there, and what follows may not hold.")
claim(
    "the last frame is stronger than the first",
    strength[-1] > strength[0],
    strength[0],
    strength[-1],
)
right = accuracy(young, images, labels)
claim("it is right more than twice as often as a guess", right > 0.4, f"{right:.0%}")

# %% [markdown]
# All frames share one scale: otherwise "before" would glow too, and it comes from random weights.
# Glowing first is not being found first. See whether the warm patch narrows to the outline, or
# glows over the cell around it. The strip shows growth, not truth. A map in the wrong place can be
# as strong; lesson 05 has one.

# %% [markdown]
# ## Key points
#
# - Grad-CAM: a layer's feature maps, weighted by the mean slope of a score, summed, ReLU.
# - On GAP + linear it is CAM / (h·w). Elsewhere it is a linear story, averaged, at one point.
# - Any score will do: a logit, a difference, a number. Logits, not softmax; both signs for
#   numbers.
# - A blank map is an answer. A map of a wrong class is not an argument.
# - HiResCAM and LayerCAM keep each position's slope: early layers become readable. HiResCAM also
#   adds up.

# %% [markdown]
# ## Quiz
#
# **1.** Your Grad-CAM for class "gametocyte" is blank. Is the code broken?
# <details><summary>Answer</summary>
#
# Perhaps not. If the weighted sum is negative everywhere, ReLU leaves zeros. Look with
# `relu=False`: numbers below zero mean that, to first order, nothing at this layer speaks for the
# class. Only zeros there too would point to a fault, a softmax that is saturated, or a target at
# its maximum. </details>
#
# **2.** A colleague multiplies all logits by 10 and the maps look the same. Why?
# <details><summary>Answer</summary>
#
# All slopes grow by 10, so every map does. Divided by its own maximum, it is the same picture. A
# normalised map has lost how strong the evidence was. </details>
#
# **3.** The regression net predicts 4.0. You ask for a map of −(y − 4)² and see nothing. What
# now?
# <details><summary>Answer</summary>
#
# The score is at its highest, the slope there is 0: the blank map is right. Ask for y itself,
# with both signs, or compare with a count that is different from the prediction.
# </details>

# %% [markdown]
# ## What this does not show
#
# - That the net *uses* the place: a slope is about small steps. Lessons 05 and 06 take things
#   away.
# - That the place is exact. Our 16×16 and 4×4 maps are blobs, and enlarging them adds nothing.
# - That Grad-CAM is faithful at every layer of every net: in the Flatten net the mean of the
#   slopes lost most of the score, and at early layers most of the parasite.
#
# ## References
#
# - Selvaraju et al., *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
#   Localization*, ICCV 2017, section 3, equations 1 and 2. The version in the International
#   Journal of Computer Vision 128 (2020) shows in section 3.1 that Grad-CAM contains CAM, and has
#   counterfactual explanations in section 3.3.
# - Zhou et al., *Learning Deep Features for Discriminative Localization*, CVPR 2016, section 2.
# - Draelos and Carin, *Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional
#   neural networks*, arXiv:2011.08891, 2020.
# - Jiang et al., *LayerCAM: Exploring Hierarchical Class Activation Maps for Localization*, IEEE
#   Transactions on Image Processing 2021.
# - Lempitsky and Zisserman, *Learning To Count Objects in Images*, NeurIPS 2010, section 2: a
#   count as the sum of a density.
#
# **Next.** [03b · The clinic](03b_clinic.ipynb): six programs that draw a map, or fail to. Or go
# straight on to [04 · Guided Grad-CAM](04_guided_grad_cam.ipynb): the blobs are coarse. Where
# *exactly* does the net look, and what is sharpness worth?
