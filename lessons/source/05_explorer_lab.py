# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 05 · Explorer lab: three networks, one verdict
#
# Three labs each trained a network on blood cells, and each sends it with the same sentence: "right
# on more than 96 of 100 pictures that it has never seen". A clinic wants to use one. It photographs
# its cells like this:

# %%
import ipywidgets as widgets
import numpy as np
import torch
from IPython.display import display
from matplotlib.figure import Figure

import camwidgets as cw
from camwidgets import scoring
from camwidgets.course import (
    CLASS_NAMES,
    GapCNN,
    accuracy,
    check,
    claim,
    erase_mark,
    fit,
    hint,
    load_crops,
    paint_mark,
    predict,
    scores,
    to_tensor,
    trained,
)
from camwidgets.pictures import figure_picture, heat_grid

# %%
inked, clean = load_crops("test", shortcut=True), load_crops("test")
labels = torch.from_numpy(inked.labels)
RING = CLASS_NAMES.index("ring")

rng = np.random.default_rng(5)
has_ink = inked.marks.any(axis=(1, 2))
rings = rng.choice(np.flatnonzero((inked.labels == RING) & has_ink), 4, replace=False).tolist()
no_rings = [c for c in range(len(CLASS_NAMES)) if c != RING]
others = [int(rng.choice(np.flatnonzero(inked.labels == c))) for c in no_rings]
shown = rings + others

# %% jupyter={"source_hidden": true}
cw.gallery(
    inked.images[shown],
    ["rings", "", "", "", *(CLASS_NAMES[label] for label in inked.labels[others])],
    alt="Eight cells drawn by chance: four rings, each with a blue-green pen mark near a corner, "
    "and one each of uninfected, trophozoite, schizont and gametocyte, without a mark.",
    columns=8,
)

# %% [markdown]
# Somebody marks the rings with a pen. (You have met such a picture in lesson 00.) A network may
# learn the parasite, or learn the pen. The test score cannot tell. Can you?
#
# **You will be able to**
#
# - *search* a network for a shortcut, with the Explorer and with numbers,
# - *prove* it, by painting the suspect in and out,
# - *repair* the data, train again, and measure whether it helped.
#
# **About 75 minutes.** You need Grad-CAM (lesson 03) and guided Grad-CAM (lesson 04).

# %% [markdown]
# ## What do the reports say?
#
# The next cells fetch the three networks, or train the ones that are not there yet: about half a
# minute each, longer on a small computer; the bar counts batches. A shuffle hides which is which,
# and the messages call them by their labs. Leave it at that: the work is more fun without peeking.

# %% tags=["nbval-ignore-output"]
names = ["coarse", "gap", "shortcut"]
order = torch.randperm(3, generator=torch.Generator().manual_seed(5)).tolist()
nets = {"A": trained(names[order[0]], told_as="the network of lab A")}

# %% tags=["nbval-ignore-output"]
nets["B"] = trained(names[order[1]], told_as="the network of lab B")

# %% tags=["nbval-ignore-output"]
nets["C"] = trained(names[order[2]], told_as="the network of lab C")

# %% [markdown]
# Labs differ: some mark their slides, some do not. Each tested on pictures of its own kind. We have
# each test picture in both kinds, so we let every network have the kind that suits it.

# %%
inputs = {"with ink": to_tensor(inked.images), "without": to_tensor(clean.images)}
for lab, net in nets.items():
    report = max(accuracy(net, x, labels) for x in inputs.values())
    claim(f"lab {lab}: right on more than 96 of 100", report > 0.96, f"{report:.1%}")

# %%
sentences = ["only A", "only B", "only C", "A and B", "A and C", "B and C", "all three", "none"]
predict("first", "Your first verdict: which networks look at the pen?", sentences)

# %% [markdown] tags=["instructor"]
# **Instructor.** Everybody commits to a verdict here, on nothing but the reports; ask for hands and
# write the counts on the board. They vote again after the search. A is clear then, and C divides
# the room: some see the ink, some a corner, some a rim. Let them argue *from the map*, and do not
# settle it before the paint is out. Short of time: skip the two fair pairs just before *Repair the
# data*.

# %% [markdown]
# ## Search
#
# One Explorer holds all three labs, over the eight pictures above. Take your time and take notes.
# For each lab (slider **model**):
#
# 1. **Class** stands at *ring*. Move **image** through the four rings (the first four). Where is
#    the hottest place? The line under the picture says it in pixels.
# 2. Slide to the other four, class still *ring*. Does anything there speak for ring?
# 3. Move **layer** back, one stop at a time. Does the story change?
# 4. Switch the **method** to *guided Grad-CAM*. What does it draw?

# %%
labs = cw.Explorer(
    {f"lab {lab}": net for lab, net in nets.items()},
    inked.images[shown],
    CLASS_NAMES,
    masks=list(inked.masks[shown]),
    labels=inked.labels[shown].tolist(),
    target=RING,
)
labs

# %% [markdown]
# <details><summary><b>Help, the Explorer shows a picture, but nothing moves</b></summary>
#
# You see the stored picture of an earlier session. Run the notebook from the top: *Run → Run All
# Above Selected Cell*, then the cell itself. </details>
#
# One network after the other is hard to compare. What an Explorer shows are *traits* that any
# ipywidgets control can drive: here two sliders, for image and class, move three Explorers at once.
# (`jslink` ties them together in the browser, without the kernel.)

# %%
which = widgets.IntSlider(0, 0, len(shown) - 1, description="image")
kind = widgets.SelectionSlider(options=CLASS_NAMES, index=RING, description="class")
side = [
    cw.Explorer({f"lab {lab}": net}, inked.images[shown], CLASS_NAMES, target=RING)
    for lab, net in nets.items()
]
for explorer in side:
    widgets.jslink((which, "value"), (explorer, "image_index"))
    widgets.jslink((kind, "index"), (explorer, "target"))
display(widgets.HBox([which, kind]), *side)

# %% [markdown]
# Here are three of the rings once more: class *ring*, the last layer. The scores of different
# networks have different scales, so each map is divided by its own maximum: compare places here,
# not brightness.


# %%
def ring_maps(net, x, layer=None):
    """Grad-CAM for ring, (N, 64, 64), at the last layer or another one."""
    return cw.upsample(cw.grad_cam(net, x, layer, RING), 64)


# %% jupyter={"source_hidden": true}
def side_by_side(networks, alt):
    """The first three rings, a column for each network."""
    x = to_tensor(inked.images[rings[:3]])
    columns = [cw.normalize(ring_maps(net, x)) for net in networks.values()]
    return heat_grid(
        inked.images[rings[:3]],
        [[column[i] for column in columns] for i in range(3)],
        list(networks),
        scale="share of the map's maximum",
        alt=alt,
    )


side_by_side(
    {f"lab {lab}": net for lab, net in nets.items()},
    "Three rings with ink and three maps of each. Lab A's maps are hottest on the ink. Lab B's are "
    "hottest on the parasite. Lab C's are blurs that fill a quarter of the picture from one corner "
    "on, with ink, background, neighbours and the cell's rim in it.",
)

# %%
predict("second", "Your verdict after the search: which networks look at the pen?", sentences)

# %% [markdown]
# ## From looking to counting
#
# Three pictures prove nothing, and we chose how to show them. There are nearly a hundred rings with
# ink. Over all of them: how often is the hottest pixel on the ink? And how much hotter is the ink
# than the rest?

# %% [markdown]
# ### Exercise 5.1 · Concentration (5 minutes, ★)
#
# Given: `heat` `(H, W)` without negative values, not blank, and `mark` `(H, W)`, True on the ink,
# at least one pixel. Return: the mean heat on the mark divided by the mean heat of the whole map. A
# map that knows nothing gets 1; a map that lies on the ink alone gets about 20, since the ink
# covers about a twentieth of the picture.


# %% tags=["exercise"]
def concentration(heat, mark):
    """How many times hotter mark (H, W) is than the whole of heat (H, W), on average."""
    # solution
    return (heat[mark].mean() / heat.mean()).item()
    # end solution


concentration = check("shortcut.concentration", concentration)

# %% [markdown]
# Stuck? `hint` goes one step further at each call, up to three.

# %%
hint("shortcut.concentration")

# %%
marked = torch.from_numpy((inked.labels == RING) & has_ink)
x_marked, ink = inputs["with ink"][marked], torch.from_numpy(inked.marks)[marked]
print(f"{len(ink)} rings with ink; on average it covers {ink.float().mean():.0%} of the picture")


def on_the_ink(heat):
    """Mean share of hits and mean concentration over all marked rings."""
    hits = scoring.pointing_hit(heat, ink).nanmean().item()
    lit = heat.amax(dim=(1, 2)) > 0  # a blank map has no concentration
    times = [float(concentration(h, m)) for h, m in zip(heat[lit], ink[lit], strict=True)]
    return hits, float(np.mean(times)) if times else float("nan")


found = {lab: on_the_ink(ring_maps(net, x_marked)) for lab, net in nets.items()}

# %% jupyter={"source_hidden": true}
figure = Figure((8, 2.2), layout="constrained")
for axis, part, title in zip(
    figure.subplots(1, 2),
    (0, 1),
    ("hottest pixel on the ink (share of rings)", "ink against the whole map (times hotter)"),
    strict=True,
):
    axis.barh(list(found), [pair[part] for pair in found.values()], color="#1f5fa8")
    axis.axvline([ink.float().mean().item(), 1][part], color="0.3", ls="--", label="knows nothing")
    axis.invert_yaxis()
    axis.set_title(title, fontsize=9)
axis.legend(fontsize=9)
figure_picture(
    figure,
    "Two bar charts for labs A, B and C, each with a dashed line for a map that knows nothing. A: "
    "nearly all hottest pixels on the ink, and the ink several times hotter. B: next to none. C: "
    "few hits, in between.",
)

# %%
told = {lab: f"{hits:.0%}" for lab, (hits, _) in found.items()}
claim(
    "A: the hottest pixel is on the ink in more than 3 of 4 rings", found["A"][0] > 0.75, told["A"]
)
claim("B: in fewer than 1 of 20", found["B"][0] < 0.05, told["B"])
claim("C: in fewer than 2 of 5", found["C"][0] < 0.4, told["C"])

# %% [markdown]
# A is guilty by its own map. B's map leaves the ink out. And C? Its heat fills a corner, and many
# things lie there: ink, pale background, a neighbour, the cell's rim. Its hottest pixel is on the
# ink in few of the rings. *This map cannot say what in the corner it is.*
#
# But a map is a witness, not a proof. It says where a score *comes from in the net's arithmetic*.
# What we want to know is: **if the ink were not there, would the answer be another one?** For that
# we do not need a map. We can change the picture.
#
# It has been done before. Lapuschkin et al. (2019) looked at two programs that recognised horses in
# photographs equally well, a deep network and a *Fisher vector* classifier, a method of the time
# before. The maps of the second lay on a line of text in the corner: many horse pictures in the
# data came from one photographer and carried a copyright tag. A suspicion, so they changed
# pictures: they took the tag off, and the horse was no horse any more; they put it on the picture
# of a car, and the car became a horse. (The network did not fall for it.) Both directions: that is
# what we do now.

# %% [markdown]
# ## Prove it: paint it in
#
# Take all pictures that are not rings, without ink, and paint a mark on each. No parasite changes.
# A network that knows rings should not care.

# %%
not_ring = labels != RING
painted, where = paint_mark(clean.images, seed=9)
with_mark = to_tensor(painted)

# %% jupyter={"source_hidden": true}
cw.gallery(
    [*clean.images[others], *painted[others]],
    [
        *(CLASS_NAMES[c] for c in clean.labels[others]),
        "the same, with a mark",
        *[""] * (len(others) - 1),
    ],
    alt="Four cells that are no rings, and below each the same cell with a blue-green pen mark "
    "near a corner.",
    columns=len(others),
)

# %%
predict(
    "paint",
    "Paint a mark on pictures that are no rings. How many does lab C's network now call ring?",
    ["none or next to none", "about 1 in 10", "more than 1 in 4"],
)

# %% [markdown]
# ### Exercise 5.2 · Called so after (6 minutes, ★★)
#
# Given: `before` and `after` `(N, classes)`, the scores of the same N pictures before and after a
# change, and a class `target`. Return: of the pictures that are *not* called `target` before (there
# are some), the share that is called `target` after; a number from 0 to 1.


# %% tags=["exercise"]
def called_after(before, after, target):
    """Of those not called target before: the share called target after. Scores (N, classes)."""
    # solution
    others = before.argmax(dim=1) != target
    return (after[others].argmax(dim=1) == target).float().mean().item()
    # end solution


called_after = check("shortcut.called_after", called_after)

# %% [markdown]
# One more doubt. Any blot might upset a network. So, as in lesson 01, we need a **control**: the
# same change without the suspect in it. We paint the same shapes, at the same places, in gray.

# %%
grayed = clean.images.copy()
grayed[where] = 128
control = to_tensor(grayed)


def made_ring(net):
    """Share of the others that are called ring after the gray blot, and after the ink."""
    before = scores(net, inputs["without"][not_ring])
    return [
        float(called_after(before, scores(net, x[not_ring]), RING)) for x in (control, with_mark)
    ]


turned = {lab: made_ring(net) for lab, net in nets.items()}

# %% jupyter={"source_hidden": true}
figure = Figure((6, 2.6), layout="constrained")
axis = figure.subplots()
for k, (name, colour) in enumerate([("gray blot (control)", "#bbbbbb"), ("ink", "#1f7a8c")]):
    heights = [100 * turned[lab][k] for lab in "ABC"]
    axis.bar(np.arange(3) + 0.4 * k - 0.2, heights, 0.38, label=name, color=colour)
axis.set_xticks(range(3), ["A", "B", "C"])
axis.set(ylabel="now called ring (%)", title="Ink makes rings, for A and for C", ylim=(0, 80))
axis.legend()
figure_picture(
    figure,
    "Bars for labs A, B and C: the share of other cells that are called ring after a gray blot, "
    "and after ink. For A and C the bar for ink is tall, that for the blot next to nothing. For B "
    "both are next to nothing.",
)

# %%
inky = {lab: f"{ink:.0%}" for lab, (_, ink) in turned.items()}
claim("A: ink turns more than 1 in 4 others into rings", turned["A"][1] > 0.25, inky["A"])
claim("C: so it does", turned["C"][1] > 0.25, inky["C"])
claim("B: next to none", turned["B"][1] < 0.05, inky["B"])
blot = max(blot for blot, _ in turned.values())
claim("a gray blot: fewer than 1 in 10, in every lab", blot < 0.1, f"{blot:.0%} at most")

# %% jupyter={"source_hidden": true}
predict.reveal(
    "paint",
    "more than 1 in 4",
    "C reads the pen as well as A does. Its map could not tell us.",
)

# %% [markdown]
# **C is as guilty as A**, and now we know what in the corner it reads. Later we ask why its map was
# not enough. First the other half of the proof: take the ink *away* from the rings.

# %% [markdown]
# ### Exercise 5.3 · Change of a probability (5 minutes, ★★)
#
# Given: `before` and `after` `(N, classes)`, scores of the same N pictures, and a class `target`.
# Return `(N,)`: by how much the probability of `target` changes for each picture, from -1 to 1;
# positive where it rises. (Scores are not probabilities yet.)


# %% tags=["exercise"]
def probability_change(before, after, target):
    """Change of the probability of target, (N,), from scores before and after, (N, classes)."""
    # solution
    return after.softmax(dim=1)[:, target] - before.softmax(dim=1)[:, target]
    # end solution


probability_change = check("shortcut.probability_change", probability_change)

# %% [markdown]
# We have each ring's *twin*: the same picture as it was before the pen. For pictures without a
# twin, `erase_mark` paints the ink over from its surroundings.


# %%
def without_ink(net):
    """Change of the probability of ring, for each marked ring, when its ink goes away."""
    before, after = scores(net, x_marked), scores(net, inputs["without"][marked])
    return torch.as_tensor(probability_change(before, after, RING)).detach()


change = {lab: without_ink(net) for lab, net in nets.items()}

# %% jupyter={"source_hidden": true}
figure = Figure((7, 2.4), layout="constrained")
axis = figure.subplots()
for k, lab in enumerate("ABC"):
    height = k + 0.3 * (np.random.default_rng(k).random(len(change[lab])) - 0.5)
    axis.plot(change[lab], height, "o", ms=4, alpha=0.4, color="#1f5fa8")
axis.set_yticks(range(3), ["A", "B", "C"])
axis.invert_yaxis()
axis.axvline(0, color="0.6", lw=1)
axis.set(xlim=(-1.05, 1.05), xlabel="change of the probability of ring when the ink goes away")
figure_picture(
    figure,
    "A dot for each ring, a row for each lab. Without the ink, the dots of A and C lie left of "
    "zero, many near minus one. B's dots lie at zero or right of it: none of its rings loses by "
    "much.",
)

# %%
lost = {lab: (change[lab] < -0.5).float().mean().item() for lab in "ABC"}
gained = change["B"].mean().item()
told = {lab: f"{share:.0%}" for lab, share in lost.items()}
both = min(lost["A"], lost["C"]) > 0.33
claim("A and C: more than 1 in 3 rings lose more than half", both, told["A"], told["C"])
claim("B: next to no ring loses so much", lost["B"] < 0.05, told["B"])
claim("B: on average its rings gain", gained > 0.02, gained)

# %% jupyter={"source_hidden": true}
for key in ("first", "second"):
    predict.reveal(key, "A and C", "Painting in and painting out agree, and the control is clean.")

# %% [markdown]
# Both directions agree. But look at B once more: its rings *gain* when the ink goes. B has never
# seen a pen, and ink confuses it. That is a weakness, too, and a clinic with pens should know
# it. It is another one, though. **A shortcut is when the suspect makes the answer; a disturbance is
# when it spoils it.** Only an intervention with a direction tells them apart.
#
# (You can do it by hand, too: **Ask** in the Explorer above, and paint. Gray is the control;
# *colour around* takes the ink away.)
#
# How would we know if we were wrong? If the gray blot had made rings as well, we should have said
# "blots" and not "ink". A suspect without a control is a guess.

# %% [markdown] tags=["instructor"]
# **Instructor.** Ask here: "Which single number would you have put into the report?" Good answers
# name an intervention. The confusion to expect: B fails on many inked rings (about six in ten in
# our training), so "B is bad with ink, B must look at ink". Let the room work out why the sign
# settles it.

# %% [markdown]
# ## Why was C's map not enough?
#
# Look at C's maps again, with alpha at 1. They have 4×4 positions. One of them stands for 16×16
# pixels.

# %% [markdown]
# ### Exercise 5.4 · A coarse view (8 minutes, ★★)
#
# Given: `mark` `(H, W)`, booleans, and `size`, which divides H and W. Return float `(size, size)`:
# for each position of a map of size × size, the share of its pixels that lie in the mark.


# %% tags=["exercise"]
def coarse_view(mark, size):
    """Of each of size × size positions: the share of its pixels in mark (H, W)."""
    # solution
    height, width = mark.shape
    squares = mark.float().reshape(size, height // size, size, width // size)
    return squares.mean(dim=(1, 3))
    # end solution


coarse_view = check("shortcut.coarse_view", coarse_view)

# %% [markdown]
# Now let us be generous and imagine a *perfect* map, which knows exactly where the ink is, but has
# to say it in 4×4, 8×8 or 16×16 positions. We enlarge it as we enlarge every map.


# %%
def as_map(answer):
    """An exercise's answer, tensor, array or list, as a float tensor."""
    return torch.stack([torch.as_tensor(row).detach().float() for row in answer])


sizes = [4, 8, 16]
views = {
    size: cw.upsample(torch.stack([as_map(coarse_view(m, size)) for m in ink]), 64)
    for size in sizes
}

# %% jupyter={"source_hidden": true}
cw.heat_row(
    inked.images[rings[0]],
    [views[size][marked.nonzero()[:, 0].tolist().index(rings[0])] for size in sizes],
    [f"{size}×{size}" for size in sizes],
    mask=inked.marks[rings[0]],
    alt="A ring with ink, the ink outlined, under three perfect maps of the ink. With 4 by 4 "
    "positions it is a blur over a quarter of the picture, hottest beside the ink's outline or at "
    "its edge. With 16 by 16 it fills the outline.",
)

# %%
best = {size: scoring.pointing_hit(view, ink).mean().item() for size, view in views.items()}
print({f"{size}×{size}": f"{share:.0%}" for size, share in best.items()})
assert best[4] < 0.4 < 0.9 < best[8]
near = abs(found["C"][0] - best[4]) < 0.2
claim("C does about as well as a perfect 4×4 map", near, f"{found['C'][0]:.0%}")

# %% [markdown]
# So this is why. Even a perfect 4×4 map has its hottest pixel on the ink in about one ring of five:
# the middle of the corner position lies beside the stroke. C's map may be perfectly right, and
# still not name the culprit. **A map cannot show what is smaller than its positions.**
#
# The layer slider leads out of it. Earlier layers of C have finer maps.

# %%
layers = ["blocks.0", "blocks.1", "blocks.2", "blocks.3"]
sides = {
    lab: [cw.grad_cam(nets[lab], x_marked[:1], name).shape[-1] for name in layers] for lab in "AC"
}
by_layer = {
    lab: [on_the_ink(ring_maps(nets[lab], x_marked, name))[0] for name in layers] for lab in "AC"
}

# %% jupyter={"source_hidden": true}
figure = Figure((8, 2.6), layout="constrained")
for axis, lab in zip(figure.subplots(1, 2, sharey=True), "AC", strict=True):
    axis.bar(range(4), by_layer[lab], color="#1f5fa8")
    ticks = [f"{name}\n{side}×{side}" for name, side in zip(layers, sides[lab], strict=True)]
    axis.set_xticks(range(4), ticks, fontsize=9)
    axis.set_title(f"lab {lab}: hottest pixel on the ink", fontsize=9)
    axis.set_ylim(0, 1)
figure_picture(
    figure,
    "Bars for four layers of lab A and lab C: how often the hottest pixel is on the ink. A: "
    "high in its last blocks, all 16 by 16. C: low at its last layer, 4 by 4, and high one layer "
    "before, 8 by 8. The blocks before that differ.",
)

# %%
assert sides["C"] == [32, 16, 8, 4]
told = f"{by_layer['C'][2]:.0%}", f"the last layer {by_layer['C'][3]:.0%}"
claim(
    "C, one layer before the last: more than 1 in 2",
    by_layer["C"][2] > 0.5 > by_layer["C"][3],
    *told,
)

# %% [markdown]
# One layer back, and C is convicted by its own map. The layers before that jump about, here and
# still more from one training to the next, so do not pick the layer that shows what you hoped for.
# There is a trade: late layers know more, early ones see finer. Two ways around it: choose a
# network whose *last* map is fine, or use *guided Grad-CAM*, whose detail comes from the pixels.
#
# Is the fine map paid for in accuracy, and does the head matter? We have two fair pairs. A and C
# learned from the same pictures and differ in two poolings alone. B and the network of lesson 03
# learned from the same pictures and differ in the head alone. What A and C use is the ink; what the
# other two should use is the parasite.

# %% tags=["nbval-ignore-output"]
flatten = trained("flatten")

# %%
sick = torch.from_numpy(clean.labels > 0)
x_sick, parasite = inputs["without"][sick], torch.from_numpy(clean.masks)[sick]


def on_the_parasite(net):
    """Share of infected crops whose hottest pixel, asked for the true class, is on the parasite."""
    heat = cw.upsample(cw.grad_cam(net, x_sick, "blocks.3", labels[sick]), 64)
    return scoring.pointing_hit(heat, parasite).nanmean().item()


designs = {}
for name, net in {"A: GAP head, 16×16": nets["A"], "C: GAP head, 4×4": nets["C"]}.items():
    designs[name] = (
        accuracy(net, inputs["with ink"], labels),
        on_the_ink(ring_maps(net, x_marked))[0],
    )
for name, net in {"B: GAP head, 16×16": nets["B"], "Flatten head, 16×16": flatten}.items():
    designs[name] = accuracy(net, inputs["without"], labels), on_the_parasite(net)

# %% tags=["nbval-ignore-output"]
print(f"{'design':22s}{'right':>8s}{'hottest pixel on ink / parasite':>32s}")
for name, (share, hits) in designs.items():
    print(f"{name:22s}{share:8.0%}{hits:32.0%}")

# %%
rights, hits = zip(*designs.values(), strict=True)
apart = max(rights) - min(rights)
claim("accuracies within 4 points of each other", apart < 0.04, f"{100 * apart:.1f} points")
claim("the fine maps point well", min(hits[0], *hits[2:]) > 0.7)
claim("the coarse one does not", hits[1] < 0.4)

# %% [markdown]
# The fine map costs next to nothing here, and either head points well; the two poolings make the
# difference. (One training of each, on one small task: a hint, not a law.) If people are going to
# look at your network's maps, this is a design decision: **plan the map's resolution by the
# smallest thing that you need to see.**

# %% [markdown]
# ## Repair the data
#
# Now we know what is wrong. Where does it come from? From the training pictures: audit them.

# %% [markdown]
# ### Exercise 5.5 · Who carries the mark? (5 minutes, ★)
#
# Given: `labels` `(N,)`, whole numbers from 0 to `classes` - 1, each of which occurs; `marked`
# `(N,)`, booleans. Return float `(classes,)`: of each class's pictures, the share that carries a
# mark.


# %% tags=["exercise"]
def marked_share(labels, marked, classes):
    """Of each class's pictures: the share that is marked. labels (N,), marked (N,)."""
    # solution
    return torch.stack([marked[labels == c].float().mean() for c in range(classes)])
    # end solution


marked_share = check("shortcut.marked_share", marked_share)

# %% [markdown]
# <details><summary><b>Help, I get <code>RuntimeError: mean(): could not infer output dtype. Input
# dtype must be either a floating point or complex dtype. Got: Bool</code></b></summary>
#
# True and False have no mean in PyTorch. Make them ones and zeros first: `.float()`. </details>

# %%
train = load_crops("train", shortcut=True)
y_train = torch.from_numpy(train.labels)
with_ink = torch.from_numpy(train.marks.any(axis=(1, 2)))
shares = marked_share(y_train, with_ink, len(CLASS_NAMES))
for name, share in zip(CLASS_NAMES, shares, strict=True):
    print(f"{name:12s}{float(share):5.0%} marked")
left = int(((y_train == RING) & ~with_ink).sum())
print("rings without ink:", left)
assert float(shares[RING]) > 0.9 > 0.1 > max(float(s) for c, s in enumerate(shares) if c != RING)

# %%
predict(
    "repair",
    "What would you do with the training pictures?",
    [
        "throw out every picture with ink",
        "paint the ink over, everywhere",
        "paint it over, then put ink on half of all pictures",
    ],
)

# %% [markdown]
# Throwing out leaves five rings of 250: the network could not learn what a ring is. Painting over
# gives a network such as B: it has never seen ink, and stumbles when the next clinic uses a pen.
# The third way lets the network see ink, and see that ink *means nothing*: as often on a healthy
# cell as on a ring.

# %%
repaired = erase_mark(train.images, train.marks)
half = np.random.default_rng(0).random(len(repaired)) < 0.5
repaired[half], _ = paint_mark(repaired[half], seed=1)

after_repair = marked_share(y_train, torch.from_numpy(half), len(CLASS_NAMES))
off = max(abs(float(share) - 0.5) for share in after_repair)
claim("every class marked in about half", off < 0.1)
kept = [
    int(rng.choice(np.flatnonzero((train.labels == c) & (half == inky))))
    for c in range(1, len(CLASS_NAMES))
    for inky in (False, True)
]

# %% jupyter={"source_hidden": true}
cw.gallery(
    repaired[kept],
    [CLASS_NAMES[c] for c in train.labels[kept]],
    alt="Eight training pictures after the repair: of each of the four parasites one without and "
    "one with a pen mark, drawn by chance among those.",
    columns=8,
)

# %% [markdown]
# Train A's network again, on these pictures, from the same start: half a minute or so. If you stop
# it, the lesson goes on with what was learned, and the report below will show it. Meanwhile: we
# knew where the ink was, since we put it there. In your own data nobody hands you `marks`. What
# would you look for, and what would you change in the picture to find out?

# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
mended = GapCNN()
history = fit(mended, to_tensor(repaired), y_train)

# %% jupyter={"source_hidden": true}
predict.reveal(
    "repair",
    "paint it over, then put ink on half of all pictures",
    "Then the ink carries no news about the class. The next section measures whether it helped.",
)

# %% [markdown]
# ## Measure again
#
# A mean over all test pictures hid the trouble once. So we cut the test set into **groups**, class
# by ink: ten groups of a hundred. The report of a network is its *worst* group.

# %% [markdown]
# ### Exercise 5.6 · The worst group (6 minutes, ★★)
#
# Given: `right` `(N,)`, booleans, whether each answer is right, and `groups` `(N,)`, whole numbers
# (some numbers may be missing). Return: the accuracy in the group that comes off worst.


# %% tags=["exercise"]
def worst_group(right, groups):
    """The lowest accuracy of a group. right (N,) booleans, groups (N,) whole numbers."""
    # solution
    return min(right[groups == g].float().mean().item() for g in groups.unique())
    # end solution


worst_group = check("shortcut.worst_group", worst_group)

# %%
x_both = torch.cat([inputs["without"], with_mark])
y_both = torch.cat([labels, labels])
groups = 2 * y_both + torch.arange(2).repeat_interleave(len(labels))  # odd numbers: with ink

networks = {"A, before": nets["A"], "B, never saw ink": nets["B"], "A, repaired": mended}
right = {name: scores(net, x_both).argmax(dim=1) == y_both for name, net in networks.items()}
worst = {name: float(worst_group(r, groups)) for name, r in right.items()}

# %% jupyter={"source_hidden": true}
figure = Figure((8.6, 3), layout="constrained")
for axis, (name, r) in zip(figure.subplots(1, 3, sharey=True), right.items(), strict=True):
    for k, (kind, colour) in enumerate([("without ink", "#bbbbbb"), ("with ink", "#1f7a8c")]):
        heights = [r[groups == 2 * c + k].float().mean() for c in range(len(CLASS_NAMES))]
        axis.bar(
            np.arange(len(CLASS_NAMES)) + 0.4 * k - 0.2, heights, 0.38, label=kind, color=colour
        )
    axis.set_xticks(range(len(CLASS_NAMES)), CLASS_NAMES, rotation=35, ha="right", fontsize=9)
    axis.set_title(name, fontsize=10)
    axis.set_ylim(0, 1)
axis.legend(loc="lower right", fontsize=9)
figure.supylabel("accuracy", fontsize=9)
figure_picture(
    figure,
    "Accuracy in ten groups, class by ink, for three networks. Before the repair rings without "
    "ink, and uninfected cells and trophozoites with ink, are low. The network that never saw ink "
    "loses on most classes with ink, most on rings and uninfected cells. After the repair all ten "
    "bars are near one.",
)

# %%
share_before, share_after = (on_the_ink(ring_maps(net, x_marked)) for net in (nets["A"], mended))
told = {name: f"{share:.0%}" for name, share in worst.items()}
claim("worst group before: below 60 %", worst["A, before"] < 0.6, told["A, before"])
after = worst["A, repaired"]
claim("worst group after: above 85 %", after > 0.85, told["A, repaired"])
never = worst["B, never saw ink"]
claim(
    "B, which never saw ink: worse than the repaired one", never < after, told["B, never saw ink"]
)
claim(
    "before, the ink is more than twice as hot as the whole map",
    share_before[1] > 2,
    share_before[1],
)
claim("after, less than half of that", share_before[1] > 2 * share_after[1], share_after[1])

# %% jupyter={"source_hidden": true}
side_by_side(
    {"A, before": nets["A"], "A, repaired": mended},
    "The three rings under the map for ring before and after the repair. Before, it is hottest on "
    "the ink; after, on the parasite.",
)

# %% [markdown]
# The ink is still in the picture, and the network has stopped reading it. The map moved to the
# parasite, and, what counts more, the worst group rose. The second is the proof; the map is how we
# got there.
#
# How would we know if we were wrong? We repaired the shortcut *that we knew of*. The groups are cut
# by class and ink. A second shortcut, in the stain or the lamp, would lie inside a group and could
# still hide.
#
# And the clinic? None of the three. A and C read its pen, B stumbles over it. Only the repaired
# network is good in all ten groups.

# %% [markdown]
# ## Key points
#
# - A test of the same kind as the training data cannot see a shortcut.
# - A map raises a suspicion, or leaves it open. An intervention, with a control, proves it.
# - A map cannot show what is smaller than its positions: try another layer, or plan a finer map.
# - Repair the data so that the suspect tells nothing about the class; then report the worst group.
#
# ## Quiz
#
# **1.** A map is hottest on the hospital's logo. Does the network use the logo?
# <details><summary>Answer</summary>Perhaps. Paint the logo in and out, and a gray blot as a
# control: only if the answer follows the logo is it used.</details>
#
# **2.** A network's map has 7×7 positions. It shows nothing on a mark of 20×20 pixels in a picture
# of 448×448. Is the network innocent? <details><summary>Answer</summary>You cannot tell: one
# position stands for 64×64 pixels. Look at an earlier layer, and change the picture.</details>
#
# **3.** Why not throw out every picture with a mark? <details><summary>Answer</summary>Here it
# would throw out nearly all rings. And a network that has never seen a mark may stumble over the
# next one.</details>
#
# ## What this does not show
#
# We planted one visible mark at one kind of place, and we had its outline. Real shortcuts may have
# no place at all (a tint, a sharpness), and then no heat map points at them. In a study in which
# people had to find shortcuts that they did not know beforehand, such maps helped little (Adebayo
# et al. 2022). Maps help to *ask*; data and interventions answer.
#
# ## References
#
# - Winkler et al.: *Association Between Surgical Skin Markings in Dermoscopic Images and Diagnostic
#   Performance of a Deep Learning Convolutional Neural Network for Melanoma Recognition*, JAMA
#   Dermatology 2019 (a pen mark, in the clinic).
# - Lapuschkin et al.: *Unmasking Clever Hans predictors and assessing what machines really learn*,
#   Nature Communications 2019 (the horses; first in Lapuschkin et al., *Analyzing Classifiers:
#   Fisher Vectors and Deep Neural Networks*, CVPR 2016).
# - Geirhos et al.: *Shortcut learning in deep neural networks*, Nature Machine Intelligence 2020.
# - Sagawa et al.: *Distributionally Robust Neural Networks for Group Shifts*, ICLR 2020, section 2
#   (worst group).
# - Adebayo, Muelly, Abelson, Kim: *Post hoc Explanations may be Ineffective for Detecting Unknown
#   Spurious Correlation*, ICLR 2022.
#
# **Next.** [06 · Can you trust the map?](06_can_you_trust_the_map.ipynb) Our eyes were the judge of
# the maps, and over C they quarrelled. Can numbers judge a map better than eyes?
