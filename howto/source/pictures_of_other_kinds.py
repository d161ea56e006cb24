# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Gray, 16-bit, medical and multi-channel pictures: what do I pass where?
#
# Two things are easily mixed up: the picture that people look at (bytes, gray or RGB) and the
# tensor that the network takes (floats, any number of channels). This page has the path from one
# to the other for files that are not plain photographs.

# %%
import tempfile
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import data
from torch import nn

import camwidgets as cw
from camwidgets.course import claim
from camwidgets.pictures import figure_picture, gallery, heat_grid, heat_row

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 16 bits
#
# A camera or microscope writes 12 or 16 bits. Cast to bytes, the values wrap around; shown as they
# are, the picture is nearly black. `window=(black, white)` says which values are shown, in the
# file's own unit. Use one window for all pictures that you compare.

# %%
deep = (1000 + 20.0 * data.camera()).astype("uint16")  # 1000 to 6100 of 65535
cv2.imwrite(str(folder / "deep.tif"), deep)
gallery(
    [
        deep.astype("uint8"),
        cw.load_image(folder / "deep.tif"),
        cw.load_image(folder / "deep.tif", window=(1000, 6100)),
    ],
    ["cast to bytes: wrong", "its whole depth", "window 1000 to 6100"],
    alt="A cameraman three times: with bands of wrapped values, very dark, and well exposed.",
)

# %% [markdown]
# ## DICOM
#
# With pydicom there (`pip install "camwidgets[dicom]"`), a CT slice is read with its own rescaling
# and window; `window` is then in Hounsfield units. Here we write a little file to read.

# %%
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

meta = FileMetaDataset()
meta.TransferSyntaxUID = ExplicitVRLittleEndian
meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
meta.MediaStorageSOPInstanceUID = generate_uid()
slice_ = FileDataset(str(folder / "slice.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
slice_.Rows, slice_.Columns = deep.shape
slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 0
slice_.RescaleSlope, slice_.RescaleIntercept = 1, -1024
slice_.WindowCenter, slice_.WindowWidth = 2500, 5100
slice_.PixelData = deep.tobytes()
slice_.save_as(folder / "slice.dcm", enforce_file_format=True)
picture = cw.load_image(folder / "slice.dcm", size=128)
narrow = cw.load_image(folder / "slice.dcm", size=128, window=(0, 2000))
print(picture.dtype, picture.shape)

# %% [markdown]
# The network should see the values that it was trained on, which need not be those on the screen.
# Keep both: `load_image` for the eye, your own reader for the tensor.
#
# ## Gray
#
# A network with one input channel takes (N, 1, H, W). The Explorer takes gray pictures (H, W) as
# they are. **The network below has random weights**: the path is the thing, its map says nothing.

# %%
torch.manual_seed(0)
gray_model = nn.Sequential(
    nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
).eval()  # fmt: skip
gray = picture[..., 0]
x = torch.from_numpy(gray).float()[None, None] / 255
heat_row(
    gray,
    [cw.grad_cam(gray_model, x)[0]],
    ["Grad-CAM"],
    alt="A gray picture of a cameraman, and the map of an untrained network over it.",
)

# %% [markdown]
# A pretrained network wants three channels: repeat the gray one, `x.expand(-1, 3, -1, -1)`, and
# normalise as in its training.
#
# ## Six channels
#
# Satellite and fluorescence pictures have more channels than an eye has colours. Maps take any
# number. We make a task whose truth we know: of six noisy channels with a bright spot each, only
# the spot in channel 4 decides the class: is it in the left half or in the right?

# %%
rng = np.random.default_rng(0)


def stacks(count, size=32):
    x = rng.normal(0, 0.3, (count, 6, size, size)).astype("float32")
    place = rng.integers(4, size - 4, (count, 6, 2))
    rows, columns = np.mgrid[:size, :size]
    distance = (rows - place[..., 0, None, None]) ** 2 + (columns - place[..., 1, None, None]) ** 2
    x += np.exp(-distance / 8).astype("float32") * 2
    return torch.from_numpy(x), torch.from_numpy((place[:, 4, 1] >= size // 2).astype("int64"))


torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(6, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(32 * 64, 2),
)  # fmt: skip
x, y = stacks(1200)
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
for _ in range(6):
    for batch in torch.randperm(len(x)).split(50):
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
model.eval()
x, y = stacks(200)
right = (model(x).argmax(1) == y).float().mean().item()
claim("It is right on more than four of five new stacks", right > 0.8, right)

# %% [markdown]
# A map says *where*, guided backprop (N, 6, H, W) says *in which channel*. The head flattens, so
# each place has weights of its own; LayerCAM keeps them, Grad-CAM would average them away.

# %%
where = cw.layer_cam(model, x[:4], "4", y[:4].tolist())
what = cw.guided_backprop(model, x).abs().mean((0, 2, 3))
share = (what / what.sum()).tolist()
most = max(range(6), key=share.__getitem__)
claim("Guided backprop says channel 4 counts most", most == 4, *share)

# %%
shown = (255 * x[:4, 4].clamp(0, 2) / 2).byte().numpy()
heat_grid(
    shown,
    [[cw.normalize(heat)] for heat in where],
    ["LayerCAM over channel 4"],
    alt="Channel 4 of four stacks, a bright spot on noise each, and the LayerCAM map over it.",
)

# %%
figure, axis = plt.subplots(figsize=(4, 2))
axis.bar(range(6), share)
axis.set(xlabel="channel", ylabel="share of guided backprop")
figure_picture(figure, "Bars for six channels; that of channel 4 is the highest.")

# %% [markdown]
# Make a picture for the eye from three of the channels (or one, as here) and lay the map over it.
