# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Lightning, timm and transformers: what do I pass?
#
# All three give you PyTorch modules, so there is no adapter. What differs is where the layers hide
# and what the model hands out. **All networks here are tiny or untrained**, because nothing is
# downloaded; the calls are those of trained ones.

# %%
import importlib.util
import logging
import os
import warnings

needed = ("lightning", "timm", "transformers")
missing = [name for name in needed if importlib.util.find_spec(name) is None]
if missing:
    raise ImportError(
        f"This page also needs {', '.join(missing)}: %pip install -r requirements.txt"
    )
os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore", category=FutureWarning)

import lightning
import timm
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import ResNetConfig, ResNetForImageClassification

import camwidgets as cw
from camwidgets.course import GapCNN, claim, load_crops, to_tensor

for name in ("pytorch", "fabric"):
    logging.getLogger(f"lightning.{name}.utilities.rank_zero").setLevel(logging.ERROR)
train, test = load_crops("train"), load_crops("test")
picks = [130, 230, 330, 430]
images, labels = to_tensor(test.images[picks]), [1, 2, 3, 4]

# %% [markdown]
# ## Lightning
#
# A LightningModule is a module: pass it as it is. Your network sits inside it, so layers have its
# name in front. `film.lightning()` is a callback that takes the maps after each epoch.


# %%
class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = GapCNN()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


lightning.seed_everything(0, verbose=False)
every_third = slice(None, None, 3)
data = TensorDataset(
    to_tensor(train.images[every_third]), torch.from_numpy(train.labels[every_third])
)
film = cw.MapsEachEpoch(images, labels)
classifier = Classifier()
trainer = lightning.Trainer(
    max_epochs=2,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    callbacks=[film.lightning()],
)
trainer.fit(classifier, DataLoader(data, 32, shuffle=True))
print(cw.layer_names(classifier, images)[-3:])
cam = cw.cam(classifier, images)
grad_cam = cw.grad_cam(classifier, images, relu=False)
torch.testing.assert_close(cam / 256, grad_cam)

# %%
film.strip(alt="Four cells, and their maps after the first and the second epoch of a training.")

# %% [markdown]
# It may have been in training mode: the maps are those of eval mode, and nothing is changed in it.
#
# ## timm
#
# A plain module that gives logits. Its stages are the layers to ask: `layer4` of a ResNet,
# `stages.3` of a ConvNeXt, `blocks` of a vision transformer (there is a page on those).
# `timm.data` knows the preprocessing that the weights were trained with.

# %%
torch.manual_seed(0)
net = timm.create_model("resnet18", pretrained=False, num_classes=5)  # pretrained=True for you
config = timm.data.resolve_model_data_config(net)
print("mean", config["mean"], "input", config["input_size"])
x = cw.upsample(images, 128)
print(cw.layer_names(net, x)[-3:])
heat = cw.grad_cam(net, x, "layer4")
cam = cw.cam(net, x)
torch.testing.assert_close(cam.relu() / 16, heat, atol=1e-6, rtol=1e-4)

# %% [markdown]
# A network that ends in SiLU or GELU (ConvNeXt, EfficientNet) has no ReLU to guide: guided
# backpropagation says so instead of handing out plain gradients.

# %%
torch.manual_seed(0)
convnext = timm.create_model("convnext_atto", pretrained=False, num_classes=5)
try:
    cw.guided_backprop(convnext, x[:1])
except ValueError as error:
    print(error)

# %% [markdown]
# ## transformers
#
# The output is an object with `.logits`, so say which number you mean: a target is a function of
# the output.

# %%
torch.manual_seed(0)
configuration = ResNetConfig(
    embedding_size=16, hidden_sizes=[16, 32, 64], depths=[1, 1, 1], layer_type="basic", num_labels=5
)
hugging = ResNetForImageClassification(configuration)
layer = cw.layer_names(hugging, x)[-1]
heat = cw.grad_cam(hugging, x, layer, lambda output: output.logits[:, 2])
print(layer, tuple(heat.shape))

# %% [markdown]
# The top class of each picture: `output.logits.max(1).values`. For the Explorer, which has a bar
# for each class, a wrapper hands out the logits. It also shortens nothing: the layers keep their
# names behind `model.`.


# %%
class Logits(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return self.model(pixel_values).logits


wrapped = Logits(hugging)
same = cw.grad_cam(wrapped, x, f"model.{layer}", 2)
torch.testing.assert_close(same, heat)
explorer = cw.Explorer(
    wrapped,
    list(test.images[picks]),
    list(test.class_names),
    preprocess=lambda image: cw.upsample(to_tensor(image), 128),
)
explorer

# %%
explorer.close()
claim("The wrapped model gives the same maps", torch.equal(same, heat))

# %% [markdown]
# A processor (`AutoImageProcessor`) makes the tensor: `preprocess=lambda image: processor(image,
# return_tensors="pt")["pixel_values"][0]`.
