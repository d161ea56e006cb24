"""What learners write: right answers to every exercise, wrong ones to some, by its name."""

from . import cam, clinic, grad_cam, guided, shortcut, training, trust, welcome, your_own

CATALOGUES = (welcome, training, cam, grad_cam, clinic, guided, shortcut, trust, your_own)
RIGHT = {name: answers for catalogue in CATALOGUES for name, answers in catalogue.RIGHT.items()}
WRONG = {
    name: answers
    for catalogue in CATALOGUES
    for name, answers in getattr(catalogue, "WRONG", {}).items()
}
