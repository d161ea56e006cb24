# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 00 · Welcome: what does a network look at?
#
# First a look at this computer. The next cell cannot break anything. `Shift`+`Enter` runs a cell
# and goes on to the next.

# %% tags=["nbval-ignore-output"]
import importlib
import os
import sys

print("Python", sys.version.split()[0])
for name in ["torch", "numpy", "cv2", "matplotlib", "ipywidgets", "anywidget", "camwidgets"]:
    try:
        print("✓", name, importlib.import_module(name).__version__)
    except ImportError as error:
        print("✗", name, "is not there:", error)
print("✓", os.cpu_count(), "processor cores (two are enough)")

# %% [markdown]
# A ✓ on every line: go on. A ✗ somewhere:
#
# <details><summary><b>Help, I get <code>✗ torch is not there: No module named
# 'torch'</code></b></summary>
#
# The notebook runs in another Python than the one in which you installed the course. Look at
# the top right corner of the notebook: the name of the kernel stands there; click it and choose
# the course's environment. If there is none to choose, stop JupyterLab, switch the environment
# on in the terminal (the README says how), and start `jupyter lab` from there. </details>
#
# <details><summary><b>Help, only <code>camwidgets</code> has a ✗</b></summary>
#
# Install the course into the environment that you are in: write `%pip install -e ..` into a new
# cell, run it, then choose *Kernel → Restart Kernel*. </details>

# %%
import torch

import camwidgets as cw
from camwidgets.course import CLASS_NAMES, check, hint, load_crops, predict

try:
    marked = load_crops("test", shortcut=True)
    print(f"✓ the data set is there: {len(marked)} test crops of {len(CLASS_NAMES)} classes")
except ValueError as error:
    print("✗", error)

# %% [markdown]
# ## A puzzle
#
# Here is a blood cell with a parasite in it, at the stage that is called *ring*. A small network
# looks at the picture and says "ring". Right! We ask it where it found the reason. Below are 64
# numbers, one for each square of 8×8 pixels: how much the square adds, in per cent of the largest.
# (The network gives 256 numbers of both signs. We took the mean of each 2×2 and wrote 0 for what is
# negative, so that the table is short.)

# %%
number = 105  # one of the rings
crop = marked.images[number]
heat = torch.tensor(
    [
        [72, 81, 35, 1, 0, 0, 0, 1],
        [97, 100, 42, 2, 0, 0, 0, 1],
        [49, 48, 22, 2, 0, 1, 1, 0],
        [1, 0, 2, 2, 2, 2, 1, 0],
        [0, 0, 0, 14, 19, 6, 1, 0],
        [0, 0, 0, 43, 42, 10, 0, 0],
        [0, 0, 0, 9, 13, 3, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 1],
    ]
)

# %% jupyter={"source_hidden": true}
cw.gallery(
    [crop],
    alt="A round blood cell with a small blue ring in it, the parasite, and a dark dot on the "
    "ring. Near the upper left corner, beside the cell, there is a blue-green disc.",
)

# %% [markdown]
# **You will be able to**
#
# - *tell* whether this computer is ready for the course,
# - *solve* an exercise and read what its check says,
# - *read* a heat map as what it is: a small table of numbers.
#
# **About 15 minutes.** You need Python, and you have met a tensor before. Nobody needs to know
# anything about blood.

# %% [markdown]
# ## A guess first
#
# In this course you often write down a guess before the answer comes. Choose one; you can change
# your mind. Nobody sees it, and a wrong guess is the more useful one. The cell with the answer
# comes later and is folded (a bar with three dots), so that you do not read it by accident: run it
# like any other.

# %%
predict(
    "look",
    "Where are the large numbers? What did the network look at?",
    ["the small ring", "the rim of the cell", "something outside the cell", "everything equally"],
)

# %% [markdown]
# <details><summary><b>Help, I see <code>VBox(children=(HTML(…</code> and no buttons</b></summary>
#
# Run the cell once more: buttons live only while the kernel runs. If that does not help, the
# widgets are not installed where JupyterLab runs: stop it, run `pip install ipywidgets
# anywidget` in the course's environment, start it again. </details>

# %% [markdown]
# <details><summary><b>Help, I come back later, or the kernel was restarted, and get
# <code>NameError: name 'cw' is not defined</code></b></summary>
#
# A restarted kernel remembers nothing: neither imports nor your answers. Put the cursor into the
# cell where you stopped and choose *Run → Run All Above Selected Cell*. It takes seconds, or
# half a minute in lesson 01, which trains. (Did you delete an exercise's cell? Then nothing defines
# its function: *Edit → Undo Cell Operation* brings it back.) </details>

# %% [markdown]
# ## How an exercise works
#
# An exercise is a function with a hole: the three dots. You fill the hole and run the cell.
# `check` then tries your function on many inputs and says what it finds.
#
# Here is what it says while nothing is there yet:


# %%
def brightest(heat):
    """Position (row, column) of the largest value of a heat map (h, w)."""
    ...


_ = check("welcome.brightest", brightest)

# %% [markdown]
# And when something is there, but not what is asked:


# %%
def brightest(heat):
    """Position (row, column) of the largest value of a heat map (h, w)."""
    return heat.max()


_ = check("welcome.brightest", brightest)

# %% [markdown]
# (`_ =` throws away what `check` hands back. Below we keep it: it is your function if it is
# right, else a working one.)
#
# Read such a verdict from the top: what came back, what is asked, what probably happened. It
# never shows the answer, and it never stops the lesson: where an exercise is open or wrong, the
# lesson goes on with a working function of its own. So you may leave one and come back.
#
# If you are stuck, there are three hints for every exercise. Each call goes one step further:

# %%
hint("welcome.brightest")

# %% [markdown]
# ### Exercise 0.1 · The hottest square (3 minutes, ★)
#
# Given: `heat` `(h, w)`. Return: the position of its largest value, two whole numbers `(row,
# column)`, counted from 0. `divmod(a, b)` gives both the quotient and the rest.


# %% tags=["exercise"]
def brightest(heat):
    """Position (row, column) of the largest value of a heat map (h, w)."""
    # solution
    return divmod(int(heat.argmax()), heat.shape[1])
    # end solution


brightest = check("welcome.brightest", brightest)

# %% [markdown]
# ## What lies there?
#
# Each number stands for 8×8 pixels. We cut out the hottest square with its neighbours, and
# beside it draw the same table as colours over the picture: where the number is 0 the picture
# stays as it is, small numbers are violet, yellow is the largest.

# %%
row, column = (int(n) for n in brightest(heat))
assert marked.marks[number][8 * row : 8 * row + 8, 8 * column : 8 * column + 8].any()
top, left = max(8 * row - 8, 0), max(8 * column - 8, 0)

# %% jupyter={"source_hidden": true}
cw.gallery(
    [
        crop,
        crop[top : 8 * row + 16, left : 8 * column + 16],
        cw.overlay(crop, heat, 0.8),
    ],
    ["the picture", "around the hottest square", "the table as colours"],
    alt="The cell; its upper left corner enlarged, with the blue-green disc; the cell under a "
    "heat map that is brightest on the disc and dimmer on the parasite.",
)

# %% jupyter={"source_hidden": true}
predict.reveal(
    "look",
    "something outside the cell",
    "The largest number is on a dot of ink.",
)

# %% [markdown]
# The answer was right, and the largest number lies on a dot of ink. That is a suspicion, not yet a
# proof. In this network's training pictures somebody had marked nearly every ring with a pen, and
# ink is easier to find than a parasite. No test score tells, if the test pictures are marked too.
# (We picked this crop because ink and cell do not touch in it. On a few others of its kind the
# largest number lies on the parasite.)
#
# That is why this course exists. You will train a network, ask it where it looks, learn three
# ways to ask, and learn when to distrust the answer. This network comes back in lesson 05: you
# will find its shortcut yourself, prove it, and repair it.

# %% [markdown] tags=["instructor"]
# **Instructor.** Let everybody get through the first two cells before you go on, and help those
# with a ✗; nothing else in the course depends on the setting. Then show the picture and the
# guess, by show of hands. The table is real: it is the CAM for ring of the network
# `trained("shortcut")` on this crop, averaged over 2×2 positions, negative values as 0, in per
# cent of the maximum. It is typed in so that nobody has to train anything in the first ten
# minutes.

# %% [markdown]
# ## Key points
#
# - `check` judges, `hint` helps, `predict` keeps your guess; none of them can break a lesson.
# - A heat map is a small table of numbers. Enlarging and colouring come later, and are for the
#   eye.
# - A right answer may have a wrong reason.
#
# ## Quiz
#
# **1.** You leave an exercise open and run the rest of the notebook. What happens?
# <details><summary>Answer</summary><code>check</code> says that nothing is there yet and hands
# back a working function. The lesson goes on.</details>
#
# **2.** The table had 64 numbers, the picture 4,096 pixels. Where do the smooth colours between
# the squares come from? <details><summary>Answer</summary>From us: enlarging fills in values
# between its neighbours. The network said nothing about them.</details>
#
# **3.** The network is right on 99 of 100 test pictures. May you trust it?
# <details><summary>Answer</summary>Not for that alone. If the test pictures carry the same pen
# marks, a network that sees pen marks only gets them right as well.</details>
#
# ## What this does not show
#
# One picture, chosen by us, and one map prove little. That the network *needs* the ink is a
# guess from colours. Lesson 01 has a first way to test such a guess, and lesson 05 tests this
# one.
#
# ## References
#
# - Lapuschkin et al.: *Unmasking Clever Hans predictors and assessing what machines really
#   learn*, Nature Communications 2019 (a classifier that recognised horses by a copyright line;
#   lesson 05 tells the story).
#
# **Next.** [01 · Train a CNN](01_train_a_cnn.ipynb): how does one train such a network, and how do
# we find out whether it is any good?
