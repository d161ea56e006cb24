# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Keras: maps of a Keras model, by Keras's own layer names
#
# You have a Keras model and a recipe from an article: take the layer `"mixed7"`, weight its
# channels by gradients, add them up, lay the result over the picture. Here is your model in the
# Explorer, and then that recipe, line by line, beside ours: where both agree to the last digits,
# and where it goes wrong.
#
# Needs Keras 3 on its PyTorch backend: `pip install "camwidgets[keras]"`. A model saved as `.keras`
# under TensorFlow loads there too.

# %%
import importlib.util
import os

if importlib.util.find_spec("keras") is None:
    raise ImportError('This page needs Keras 3: %pip install "camwidgets[keras]"')
os.environ["KERAS_BACKEND"] = "torch"  # before the first import of Keras

import cv2
import keras
import numpy as np
import torch
from skimage import data

import camwidgets as cw
from camwidgets.course import claim, load_crops, to_tensor
from camwidgets.keras import as_torch
from camwidgets.pictures import heat_row

# %% [markdown]
# ## Your model
#
# A small one, trained here. `film.keras()` takes the maps of four test pictures after each epoch.

# %%
keras.utils.set_random_seed(0)
train, test = load_crops("train"), load_crops("test")
model = keras.Sequential(
    [
        keras.Input((64, 64, 3)),
        keras.layers.Rescaling(1 / 127.5, -1),
        keras.layers.Conv2D(16, 5, 2, "same"),
        keras.layers.BatchNormalization(momentum=0.9),
        keras.layers.ReLU(),
        keras.layers.Conv2D(32, 3, 2, "same"),
        keras.layers.BatchNormalization(momentum=0.9),
        keras.layers.ReLU(),
        keras.layers.Conv2D(64, 3, padding="same"),
        keras.layers.BatchNormalization(momentum=0.9),
        keras.layers.ReLU(name="last_map"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(5, activation="softmax", name="classes"),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
picks = [130, 230, 330, 430]
film = cw.MapsEachEpoch(
    255 * to_tensor(test.images[picks]),
    [1, 2, 3, 4],
    pictures=list(test.images[picks]),
    layer="last_map",
)
model.fit(
    train.images.astype("float32"), train.labels, 32, epochs=6, verbose=0, callbacks=[film.keras()]
)
_, accuracy = model.evaluate(test.images.astype("float32"), test.labels, verbose=0)
claim("It is right on more than half of the test cells", accuracy > 0.5, accuracy)

# %% [markdown]
# `as_torch` gives a module whose layers have the names that `model.get_layer` knows. Pictures go in
# as everywhere here, (N, C, H, W); the axes are put in order inside. It runs with `training=False`.

# %%
net = as_torch(model)
images = 255 * to_tensor(test.images[picks])
print(cw.layer_names(net, images))

# %% [markdown]
# This model ends in a softmax. Its gradient is close to nothing where the model is sure, so `net`
# gives what goes into it, the logits. The probabilities are still those of Keras:

# %%
with torch.no_grad():
    ours = net(images).softmax(1).numpy()
np.testing.assert_allclose(ours, model.predict(test.images[picks], verbose=0), atol=1e-5)

# %% [markdown]
# It ends in global average pooling and one Dense layer, so CAM proper works, and Grad-CAM is the
# same map divided by the number of positions:

# %%
cam = cw.cam(net, images)
grad_cam = cw.grad_cam(net, images, "last_map", relu=False)
torch.testing.assert_close(cam / (16 * 16), grad_cam, atol=1e-6, rtol=1e-4)

# %%
film.strip(alt="Four cells in rows, their Grad-CAM maps after each of six epochs in columns.")

# %%
explorer = cw.Explorer(
    net,
    list(test.images[picks]),
    list(test.class_names),
    preprocess=lambda image: torch.from_numpy(image).permute(2, 0, 1).float(),
)
explorer

# %%
explorer.close()

# %% [markdown]
# ## The article's model
#
# Inception-V3 and its layer `mixed7`. **The weights are random here**, because nothing is
# downloaded on this page: the numbers can be compared, the picture means nothing. With a network,
# write `weights="imagenet"`.

# %%
keras.utils.set_random_seed(1)
inception = keras.applications.InceptionV3(weights=None)
photograph = cv2.resize(data.chelsea(), (299, 299), interpolation=cv2.INTER_AREA)
for layer in inception.layers:  # untrained, its batch norms know no picture yet: show them one
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.0
_ = inception(photograph[None].astype("float32") / 127.5 - 1, training=True)

# %% [markdown]
# **Input.** Inception was trained on numbers from −1 to 1. Bytes from 0 to 255 go through without
# an error, and the answer is another one.

# %%
given = keras.applications.inception_v3.preprocess_input(photograph[None].astype("float32"))
claim("The input lies between -1 and 1", -1 <= given.min() < given.max() <= 1)
right = inception.predict(given, verbose=0)[0]
wrong = inception.predict(photograph[None].astype("float32"), verbose=0)[0]
claim("Bytes give other probabilities", abs(right - wrong).max() > 1e-3)

# %% [markdown]
# **Class numbers.** The same network exists with 1000 classes (keras.applications) and with 1001
# (hub modules: "background" first). Class c of the one is class c + 1 of the other. One off, and
# you look at the map of another animal; it will look fine.

# %%
thousand = ["tench", "goldfish", "great white shark"]  # and so on
thousand_and_one = ["background", *thousand]
c = thousand.index("goldfish")
assert thousand_and_one[c + 1] == thousand[c]
assert thousand_and_one[c] != thousand[c]

# %% [markdown]
# **The recipe.** In NumPy and by hand, as articles write it: the layer by name, gradients of the
# class's output, "guided gradients" (zero where activation or gradient are not positive), their
# means as weights, a sum that starts from ones, enlarged, then ReLU.

# %%
c = int(right.argmax())
both = keras.Model(inception.inputs, [inception.get_layer("mixed7").output, inception.output])
A, output = both(torch.from_numpy(given), training=False)
print(tuple(A.shape), "rows, columns, channels last")
logits = output._keras_logits  # what the softmax was given
(g,) = torch.autograd.grad(logits[0, c], A, retain_graph=True)
(g_softmax,) = torch.autograd.grad(output[0, c], A)
A, g, g_softmax = (t[0].detach().numpy() for t in (A, g, g_softmax))


def recipe(A, gradient, start):
    guided = (A > 0) * (gradient > 0) * gradient
    weights = guided.mean(axis=(0, 1))  # rows and columns: here the first two axes
    total = start((17, 17), dtype="float32")
    for k, weight in enumerate(weights):
        total += weight * A[:, :, k]
    return total


article = recipe(A, g, np.zeros)

# %% [markdown]
# **Ours.** One call. The recipe's weighting is neither Grad-CAM nor guided Grad-CAM; it is here
# under a name of its own.

# %%
net = as_torch(inception)
x = torch.from_numpy(given).permute(0, 3, 1, 2)
print(tuple(cw.maps.record(net, x, ["mixed7"]).features["mixed7"].shape), "channels first")
ours = cw.maps.positive_grad_cam(net, x, "mixed7", c)[0].numpy()
np.testing.assert_allclose(article, ours, rtol=1e-4, atol=1e-6 * ours.max())

# %% [markdown]
# They are equal. Now the traps, one by one.
#
# **`np.ones` as a start.** It adds 1 everywhere. The order of the places stays, so the picture
# looks right; every statement about *how much* is gone.

# %%
with_ones = recipe(A, g, np.ones)
np.testing.assert_allclose(with_ones - 1, ours, rtol=1e-3, atol=1e-5)
hot = ours >= np.quantile(ours, 0.9)
share = float(ours[hot].sum() / ours.sum())
share_ones = float(with_ones[hot].sum() / with_ones.sum())
area = float(hot.mean())
claim(
    "From ones, the hottest tenth holds hardly more heat than its area",
    abs(share_ones - area) < 0.5 * abs(share - area),
    share_ones,
    share,
    area,
)

# %% [markdown]
# **Positive-only weights** throw away what speaks against the class. Grad-CAM keeps it:

# %%
grad_cam = cw.grad_cam(net, x, "mixed7", c, relu=False)[0].numpy()
np.testing.assert_allclose(
    np.einsum("k,ijk->ij", g.mean((0, 1)), A), grad_cam, rtol=1e-3, atol=1e-6
)
claim("Grad-CAM has negative places, the recipe has none", grad_cam.min() < 0 <= ours.min())

# %% [markdown]
# **Softmax.** The gradient of the probability is the gradient of the logit times p (1 − p), and
# more: it mixes in all other classes.

# %%
p = float(right[c])
claim(
    "The softmax's gradient is smaller than p times the logit's largest",
    abs(g_softmax).max() < p * abs(g).max() * 1.5,
)

# %% [markdown]
# **Enlarge, then ReLU?** Bilinear enlarging of a signed map mixes both signs at the borders; ReLU
# first gives another picture. Here and in the paper: ReLU at the layer's resolution, then enlarge.

# %%
small = torch.from_numpy(grad_cam)[None]
late = cw.upsample(small, 299).relu()
early = cw.upsample(small.relu(), 299)
difference = float((early - late).abs().max() / early.max())
claim("The two orders differ by more than a hundredth of the peak", difference > 0.01, difference)

# %% [markdown]
# **BGR.** OpenCV's colour tables come out as blue, green, red. Shown as RGB, hot is blue.

# %%
hottest = cv2.applyColorMap(np.uint8([[255]]), cv2.COLORMAP_JET)[0, 0]
claim("OpenCV's hottest colour, read as RGB, is more blue than red", hottest[2] > hottest[0])

# %%
heat_row(
    photograph,
    [cw.normalize(torch.from_numpy(m).float()) for m in (ours, with_ones, np.maximum(grad_cam, 0))],
    ["recipe from zeros", "recipe from ones", "Grad-CAM"],
    alt="A cat and three maps of an untrained Inception-V3, each divided by its maximum: the "
    "recipe's, the same map from ones, which is bright everywhere, and Grad-CAM's.",
)

# %% [markdown]
# ## A layer in a wrapper
#
# A model inside a model hides its layers from `get_layer`. Here they have a path.

# %%
wrapped = keras.Sequential(
    [keras.Input((299, 299, 3)), keras.layers.Rescaling(1 / 127.5, -1), inception]
)
try:
    wrapped.get_layer("mixed7")
except ValueError as error:
    print(str(error).split(".")[0])
bytes_ = torch.from_numpy(photograph).permute(2, 0, 1)[None].float()
inside = cw.maps.positive_grad_cam(as_torch(wrapped), bytes_, "inception_v3.mixed7", c)[0]
np.testing.assert_allclose(inside.numpy(), ours, rtol=1e-3, atol=1e-5 * ours.max())
