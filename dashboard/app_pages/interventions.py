"""Interventions: experiments on a score, each beside its random control."""

from dashboard.components.analysis import current_analysis
from dashboard.components.page import heading
from dashboard.components.pickers import pick_image, pick_section
from dashboard.views.interventions import images, neurons

EXPERIMENTS = {
    "Ablate (from the score)": neurons.ablate_from_score,
    "Activation patching / causal ablation": neurons.inside_network,
    "Deletion / insertion": images.deletion_insertion,
    "Reference-set contamination": images.contamination,
    "Stability of the score": images.stability,
}

heading(
    "Interventions",
    "Experiments on one image's score: change something and compare the effect with the same change at random.",
)
found = current_analysis()
score = pick_image(found)
pick_section("Experiment", EXPERIMENTS, "experiment")(found, score)
