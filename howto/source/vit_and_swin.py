# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Vision transformers and Swin: which layer, and where is the map?
#
# A ViT has no feature maps with rows and columns: it has tokens, one for each patch, and one class
# token in front. A Swin has its channels last. Here both are read for you, by following how each
# tensor came about, so the question that remains is: which layer?

# %%
import torch
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer

import camwidgets as cw
from camwidgets.course import claim, load_crops, to_tensor
from camwidgets.pictures import heat_grid

# %% [markdown]
# ## Two small ones
#
# Transformers need much data; in the few seconds of this page they only learn to tell two of the
# course's classes apart: uninfected cells and schizonts.

# %%
torch.manual_seed(0)
vit = VisionTransformer(64, 8, 3, 4, 48, 96, num_classes=2)
swin = SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=2, stochastic_depth_prob=0)


def two_classes(split):
    crops = load_crops(split)
    few = (crops.labels == 0) | (crops.labels == 3)
    return crops.images[few], crops.masks[few], torch.from_numpy(crops.labels[few] == 3).long()


images, _, y = two_classes("train")
x = (to_tensor(images) - 0.7) / 0.2
for model, rate in ((vit, 2e-3), (swin, 2e-3)):
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    for _ in range(4):
        for batch in torch.randperm(len(x)).split(25):
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
images, masks, y = two_classes("test")
x = (to_tensor(images) - 0.7) / 0.2
for name, model in (("ViT", vit), ("Swin", swin)):
    with torch.no_grad():
        right = (model(x).argmax(1) == y).float().mean().item()
    claim(f"The {name} is right more often than by chance", right > 0.6, right)

# %% [markdown]
# ## Which layers give maps?
#
# The names are those of `named_modules()`. Tokens come out on their grid, the class token left out;
# channels last come out first.

# %%
print([name for name in cw.layer_names(vit, x[:1]) if name.count(".") <= 3][-8:])
print([name for name in cw.layer_names(swin, x[:1]) if name.count(".") <= 2])
recording = cw.maps.record(vit, x[:1], ["encoder.layers.encoder_layer_2.ln_1"])
print("ViT:", *(tuple(A.shape) for A in recording.features.values()))
recording = cw.maps.record(swin, x[:1], ["features.3"])
print("Swin:", *(tuple(A.shape) for A in recording.features.values()))

# %% [markdown]
# ## The trap: behind the last attention only the class token counts
#
# A ViT reads its answer off the class token. Behind the last attention nothing flows from the
# patch tokens to that one any more, so their gradient is exactly 0 and the map is blank. Not a
# fault of the picture: the wrong layer.

# %%
last = "encoder.layers.encoder_layer_2"
blank = cw.grad_cam(vit, x[:4], last, relu=False)
claim("The last block's map is 0 everywhere", not blank.any())

# %% [markdown]
# The last layer that still has a say is what the last attention is given: the norm in front of it,
# `ln_1` of the last block (in timm: `blocks.N.norm1`). With `layer=None` it is the output of the
# block before, which everything passes through.

# %%
shown = torch.nonzero(y == 1)[:4, 0]
named = cw.grad_cam(vit, x[shown], f"{last}.ln_1", 1)
default = cw.maps.record(vit, x[shown], target=1).layers
print("default:", *default)
of_swin = cw.grad_cam(swin, x[shown], "features.1", 1)
print(tuple(named.shape), tuple(of_swin.shape))

# %%
heat_grid(
    images[shown],
    [[cw.normalize(a), cw.normalize(b)] for a, b in zip(named, of_swin, strict=True)],
    ["ViT, 8×8 tokens", "Swin, first stage, 16×16"],
    masks=masks[shown],
    alt="Four schizonts, their outline drawn, with the maps of a small ViT and a small Swin, "
    "each on its own scale.",
)

# %% [markdown]
# In a transformer any place may carry what attention brought from another, so heat on a place
# need not be about that place. Ask what the maps are worth before you show them: how much of the
# heat lies on the parasite, against the share of the picture that it covers?

# %%
where = y == 1
area = float(masks[where].mean())
for name, model, layer in (("ViT", vit, None), ("Swin", swin, "features.1")):
    heat = cw.upsample(cw.grad_cam(model, x[where], layer, 1), 64)
    some = heat.flatten(1).sum(1) > 0
    on_it = (heat * torch.from_numpy(masks[where])).flatten(1).sum(1) / heat.flatten(1).sum(1)
    share = float(on_it[some].mean())
    claim(f"{name}: more heat on the parasite than its area", share > area, share, area)

# %% [markdown]
# ## timm, transformers
#
# timm's `vit_…`: layer `"blocks.11.norm1"`; with `global_pool="avg"` all tokens count, so
# `"norm"` works too. timm's `swin_…`: `"layers.3"`. Hugging Face's ViT:
# `"vit.encoder.layer.11.layernorm_before"` with a target `lambda output: output.logits[:, c]`.
# Register tokens (DINOv2) are left out as the class token is. There is no ReLU in them: guided
# backpropagation says so.
