# ruff: noqa
# The reference's examples, run when the site is built (reference.py): one cell for each public
# name, its heading the name and the alt text of the picture that its last line gives.
# ---
import torch
import camwidgets as cw
from camwidgets import course, maps, scoring

model = course.trained("gap")
test = course.load_crops("test")
photo, mask = test.images[105], test.masks[105]  # a cell with a ring
images = course.to_tensor(photo[None])
some_crops = course.to_tensor(test.images[::25]), torch.from_numpy(test.labels[::25])

# %% Explorer: The explorer's picture: a cell with a ring under its Grad-CAM, with a scale
explorer = cw.Explorer(model, [photo], course.CLASS_NAMES, masks=[mask])
explorer.target, explorer.alpha = 1, 0.6
explorer
# %% cam: CAM over the cell: the heat lies on the ring
heat = cw.cam(model, images, target=1)  # (1, 16, 16), signed
cw.overlay(photo, heat[0])
# %% gallery
cw.gallery(
    test.images[[105, 212, 318]],
    ["ring", "trophozoite", "schizont"],
    alt="Three cells side by side: ring, trophozoite, schizont",
)
# %% grad_cam: Grad-CAM of an earlier layer: finer, and on more than the ring
heat = cw.grad_cam(model, images, layer="blocks.1", target=1)  # (1, 16, 16)
cw.overlay(photo, heat[0])
# %% grad_cam_plus_plus: Grad-CAM++ over the cell, on the ring
heat = cw.grad_cam_plus_plus(model, images, target=1)
cw.overlay(photo, heat[0])
# %% hires_cam: HiResCAM over the cell, on the ring
heat = cw.hires_cam(model, images, target=1)
cw.overlay(photo, heat[0])
# %% score_cam: Score-CAM over the cell, on the ring
heat = cw.score_cam(model, images, target=1)
cw.overlay(photo, heat[0])
# %% eigen_cam: Eigen-CAM over the cell: what the layer's strongest component marks
heat = cw.eigen_cam(model, images)
cw.overlay(photo, heat[0])
# %% guided_backprop: Guided backpropagation: thin lines around the ring
details = cw.guided_backprop(model, images, target=1)  # (1, 3, 64, 64)
cw.overlay(photo, details.abs().amax(dim=1)[0])
# %% guided_grad_cam: Guided Grad-CAM: the lines of the ring alone
details = cw.guided_grad_cam(model, images, target=1)  # (1, 3, 64, 64)
cw.overlay(photo, details.abs().amax(dim=1)[0])
# %% heat_row
per_class = [cw.cam(model, images, target=c)[0] for c in (0, 1, 2)]
cw.heat_row(
    photo,
    per_class,
    course.CLASS_NAMES[:3],
    signed=True,
    alt="The cell, then its maps of three classes: only the one of ring is red on the ring",
)
# %% heat_grid
rows = [
    [cw.grad_cam(model, images, layer, c)[0] for c in (1, 2)] for layer in ("blocks.1", "blocks.3")
]
cw.heat_grid(
    [photo, photo], rows, ["ring", "trophozoite"], alt="Maps of two layers and two classes"
)
# %% layer_names
cw.layer_names(model, images)
# %% load_image: A drawn photograph of a blood smear, loaded from a file
cw.load_image("data/photos/smear_1.jpg", size=192)
# %% normalize
cw.normalize(cw.grad_cam(model, images)).amax()
# %% overlay: The ring under a map that hides what is cold
cw.overlay(photo, cw.cam(model, images)[0], alpha=0.7, colormap="viridis")
# %% upsample
cw.upsample(cw.cam(model, images), 64).shape
# %% Recording
record = maps.record(model, images, ["blocks.2", "blocks.3"])
{name: tuple(A.shape) for name, A in record.features.items()}
# %% deconvnet: The deconvnet's picture of the cell: edges everywhere
cw.overlay(photo, maps.deconvnet(model, images, target=1).abs().amax(dim=1)[0])
# %% features_and_gradient
A, dy = maps.features_and_gradient(model, images, "blocks.3", target=1)
torch.einsum("nkij,nk->nij", A, dy.mean(dim=(2, 3))).shape
# %% gradient: The plain gradient: specks on and around the ring
cw.overlay(photo, maps.gradient(model, images, target=1).abs().amax(dim=1)[0])
# %% layer_cam: LayerCAM of an early layer: the ring with fine borders
cw.overlay(photo, maps.layer_cam(model, images, layer="blocks.1", target=1)[0])
# %% positive_grad_cam: The variant with positive gradients only: the ring, and more of the cell
cw.overlay(photo, maps.positive_grad_cam(model, images, target=1)[0])
# %% record
record = maps.record(model, images)  # one forward pass of the network
{name: tuple(dy.shape) for name, dy in record.gradients(1).items()}
# %% area
heat = cw.upsample(cw.cam(model, images, target=1), 64)
curve = scoring.deletion(model, images, heat, target=1)
scoring.area(curve)
# %% bootstrap_interval
mean, low, high = scoring.bootstrap_interval([0.9, 0.8, 1.0, 0.7, 0.95])
round(low, 2), round(high, 2)
# %% box
scoring.box(cw.upsample(cw.cam(model, images, target=1), 64), share=0.5)
# %% box_iou
scoring.box_iou(cw.upsample(cw.cam(model, images, target=1), 64), mask[None], share=0.5)
# %% cascading
[name for name, changed in scoring.cascading(model, images)]
# %% centre_map: A map that never saw the network: hot in the middle
cw.overlay(photo, scoring.centre_map(images)[0])
# %% choose_threshold
some = range(100, 110)
heat = cw.upsample(cw.cam(model, course.to_tensor(test.images[some]), target=1), 64)
scoring.choose_threshold(heat, test.masks[some])
# %% deletion
heat = cw.upsample(cw.cam(model, images, target=1), 64)
scoring.deletion(model, images, heat, target=1, steps=4)
# %% edge_map: A map that never saw the network: the edges of the picture
cw.overlay(photo, scoring.edge_map(images)[0])
# %% impute: The cell with its parasite filled in from its surroundings
filled = scoring.impute(images, torch.from_numpy(mask[None]))
(255 * filled[0].permute(1, 2, 0)).clamp(0, 255).byte().numpy()
# %% independent
[name for name, changed in scoring.independent(model, images)]
# %% insertion
heat = cw.upsample(cw.cam(model, images, target=1), 64)
scoring.insertion(model, images, heat, target=1, steps=4)
# %% mass
scoring.mass(cw.upsample(cw.cam(model, images, target=1), 64).relu(), mask[None])
# %% occlusion: What each covered square costs the score: most on the ring
cw.overlay(photo, scoring.occlusion(model, images, target=1)[0])
# %% pointing_hit
scoring.pointing_hit(cw.upsample(cw.cam(model, images, target=1), 64), mask[None])
# %% rank_accuracy
scoring.rank_accuracy(cw.upsample(cw.cam(model, images, target=1), 64), mask[None])
# %% resolution_ceiling
scoring.resolution_ceiling(mask[None], (4, 4))  # the best that a map of 4×4 could score
# %% road
scoring.road(model, images, cw.upsample(cw.cam(model, images, target=1), 64), target=1)
# %% spearman
scoring.spearman(cw.cam(model, images, target=1), cw.cam(model, images, target=2))
# %% ssim
scoring.ssim(
    cw.upsample(cw.cam(model, images, target=1), 64),
    cw.upsample(cw.cam(model, images, target=2), 64),
)
# %% uniform_map
scoring.uniform_map(images).unique()
# %% wilson
share, low, high = scoring.wilson([1, 1, 0, 1, 1, 1, 0, 1])
round(share, 2), round(low, 2), round(high, 2)
# %% CLASS_NAMES
course.CLASS_NAMES
# %% CountCNN
course.CountCNN()(images).shape
# %% Crops
test.images.shape, test.masks.dtype, test.labels[:3]
# %% Fields
fields = course.load_fields("test")
fields.images.shape, fields.counts[:3]
# %% FlattenCNN
course.FlattenCNN()(images).shape
# %% GapCNN
course.GapCNN()(images).shape
# %% History
course.History(loss=[1.2, 0.4], finished=True)
# %% accuracy
some = range(0, 500, 10)
labels = torch.from_numpy(test.labels[some])
course.accuracy(model, course.to_tensor(test.images[some]), labels)


# %% check
def weighted_sum(features, weights):
    return torch.einsum("kij,k->ij", features, weights)


weighted_sum = course.check("cam.weighted_sum", weighted_sum)
# %% claim
course.claim("the ring's crop is called a ring", course.scores(model, images).argmax() == 1)
# %% erase_mark: The cell beside a pen mark, with the mark taken out again
marked, marks = course.paint_mark(photo[None])
course.erase_mark(marked, marks)[0]
# %% fit
course.fit(course.GapCNN(), *some_crops, epochs=2).finished
# %% hint
course.hint("cam.weighted_sum")
# %% load_crops
train = course.load_crops("train")
train.images.shape
# %% load_fields: A field of the smear with several cells
course.load_fields("test").images[0]
# %% load_image_folder: not run
crops = course.load_image_folder("pictures", size=64)  # pictures/cat/1.jpg, …
crops.images.shape, crops.class_names
# %% load_nih_cells: not run
cells = course.load_nih_cells("cell_images", per_class=500)  # Parasitized/ and Uninfected/
cells.images.shape
# %% paint_mark: The cell with a pen mark in its corner
course.paint_mark(photo[None])[0][0]
# %% predict
course.predict("where", "Where will the map be hot?", ["on the ring", "on the rim"])
course.predict.reveal("where", "on the ring", "It is what the classes differ in.")
# %% save: not run
course.save(model, "gap")  # the lessons after this one begin with it
# %% scores
course.scores(model, images)
# %% to_tensor
course.to_tensor(photo[None]).shape
# %% trained
type(course.trained("gap")).__name__
# %% MapsEachEpoch
film = cw.MapsEachEpoch(images, target=1)
course.fit(course.GapCNN(), *some_crops, epochs=2, callbacks=[film])
film.strip()
# %% figure_picture
from matplotlib.figure import Figure

figure = Figure((4, 2))
figure.subplots().plot(scoring.deletion(model, images, cw.upsample(heat, 64), target=1)[0])
cw.figure_picture(figure, alt="The probability of ring falls at once when its hottest pixels go")
# %% cam_of: CAM read from a recording
record = maps.record(model, images)
cw.overlay(photo, maps.cam_of(record, 1)[0])
# %% grad_cam_of
{name: tuple(heat.shape) for name, heat in maps.grad_cam_of(record, 1).items()}
# %% hires_cam_of
{name: tuple(heat.shape) for name, heat in maps.hires_cam_of(record, 1).items()}
# %% layer_cam_of
{name: tuple(heat.shape) for name, heat in maps.layer_cam_of(record, 1).items()}
# %% grad_cam_plus_plus_of
{name: tuple(heat.shape) for name, heat in maps.grad_cam_plus_plus_of(record, 1).items()}
# %% positive_grad_cam_of
{name: tuple(heat.shape) for name, heat in maps.positive_grad_cam_of(record, 1).items()}
# %% eigen_cam_of
{name: tuple(heat.shape) for name, heat in maps.eigen_cam_of(record).items()}
# %% gradient_of
record = maps.record(model, images, pixels=True)
maps.gradient_of(record, 1).shape
# %% guided_backprop_of
record = maps.record(model, images, pixels=True)
maps.guided_backprop_of(record, 1).shape
# %% deconvnet_of
record = maps.record(model, images, pixels=True)
maps.deconvnet_of(record, 1).shape
# %% run
maps.run(model, images)
# %% stand_in
double = maps.stand_in(model)  # shares the weights, in eval mode, may be hooked at will
double is model, double.training
# %% trace
[call.name for call in maps.trace(model, images).calls][:4]
# %% Measured: not run
table = course.load_table("cells.csv")  # a Measured: pictures, and one number for each
table.images.shape, table.values.shape
# %% load_table: not run
table = course.load_table("cells.csv")  # columns: path, value
table.images.shape, table.values.shape
# %% load_pets: not run
pets = course.load_pets("pets", per_class=20, download=True)  # 800 MB
pets.images.shape
# %% shuffled_crops
shuffled = course.shuffled_crops(50)
shuffled.images.shape
# %% VerdictCard
card = course.VerdictCard("The course's network on a ring", verdict="holds", limits="one crop")
card
# %% photograph: A cat, looking at you
course.photograph("chelsea", size=192)
# %% pretrained: not run
offline = course.pretrained()  # EfficientNet-Lite0 from the course's packages, no download
offline.size, offline.names[285]
# %% Pretrained: not run
offline = course.pretrained()
offline.model, offline.mean, offline.std
