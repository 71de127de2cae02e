"""A study of two seeds that trains in seconds, with a network of the user's own."""

from kdtool.train.pipeline.roles import train_role
from kdtool.train.pipeline.sweep import settings_of

ROLES = ["teacher", "control", "student"]
RECIPE = """
name = "tiny"
seeds = [3, 5]
[data]
source = "digits"
[teacher]
model = "mnist-mlp"
epochs = 1
min_steps = 0
[student]
model = "own_nets:small"
epochs = 2
min_steps = 0
"""
OWN_NETS = """
from torch import nn

def small(image_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, num_classes))
"""


def tried_by(run, roles=ROLES):
    return settings_of(list(roles), [({}, run.recipe)])


def train_here(run):
    models = {}
    for role in ROLES:
        models[role] = train_role(run, role, models)
    return models
