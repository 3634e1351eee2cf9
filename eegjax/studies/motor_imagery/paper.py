"""What the motor-imagery report prints, its networks layer by layer, and what it did that the field holds to be wrong.

Shi, Shi, Liu & Li, "Recurrent neural networks and hybrid of variational autoencoder and CNN approaches on
classification of electroencephalography data" (UCLA).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pandas as pd
from ml_collections import ConfigDict

from eegjax.models.cnn_rnn import CNNRNN
from eegjax.models.conv_net import ConvNet
from eegjax.models.vae import VAE

MODELS = {"conv_net": "CNN", "cnn_lstm": "CNN+LSTM"}  # the report's names of our networks
SPLITS = {"train": "training %", "validation": "validation %", "test": "testing %"}
PERFORMANCE = {"conv_net": (89.70, 91.40, 65.00), "cnn_lstm": (81.85, 81.56, 61.40)}  # per cent, in the order of SPLITS
N_TIMES = 1000
N_CHANS = 22
N_CLASSES = 4  # of the report's trials: 4 s at 250 Hz
SIZES = (
    f"Output: samples x features of one of the report's trials ({N_TIMES} samples, {N_CHANS} channels), computed from "
    "the network itself, whatever the windows of this run."
)

# ---- the networks, layer by layer

# a layer and its note as printed; the module with its parameters; where its output is seen: the module that gives it
# or, after '>', the one that takes it
Layer = tuple[str, str, str, str]


def _block(n_in: int, n_out: int, number: int) -> tuple[Layer, ...]:
    """A block of Table 1: the first has its own convolutions."""
    own: tuple[Layer, ...] = ()
    if number > 1:
        own = (
            ("Conv2d", f"in_chan={n_in}, out_chan={n_out}, kernel=(1, 20)", f"conv_{number}", f"norm_{number}"),
            ("BatchNorm2d", f"n_features={n_out}", f"norm_{number}", f"norm_{number}"),
            ("Activation", "ELU", "", f"norm_{number}"),
        )
    drop = f"Dropout_{number - 1}"
    return (*own, ("MaxPool2d", "kernel=(1, 6), stride=3", "", drop), ("Dropout", "0.25", "", drop))


TABLE_1: tuple[Layer, ...] = (
    ("Conv2d", "in_chan=1, out_chan=25, kernel=(1, 20)", "conv_time", "norm_time"),
    ("BatchNorm2d", "n_features=25", "norm_time", "norm_time"),
    ("Activation", "ELU", "", "norm_time"),
    ("Conv2d", "in_chan=25, out_chan=25, kernel=(22, 1)", "conv_space", "norm_space"),
    ("BatchNorm2d", "n_features=25", "norm_space", "norm_space"),
    ("Activation", "ELU", "", "norm_space"),
    *_block(25, 25, 1),
    *_block(25, 50, 2),
    *_block(50, 100, 3),
    *_block(100, 200, 4),
    ("FC layer", "in=200, out=4", "head", "head"),
)
TABLE_2: tuple[Layer, ...] = (
    ("Linear layer fc1", "dimension (22000, 2000)", "encoder", "encoder"),
    ("Activation", "Relu (h1)", "", "encoder"),
    ("Linear layer fc21", "dimension (2000, 20) as mu", "mean", "mean"),
    ("Linear layer fc22", "dimension (2000, 20) as logvar", "log_variance", "log_variance"),
    ("Reparameterization", "z = reparameterize(mu, logvar)", "", ">decoder"),
    ("Linear layer fc3", "dimension (20, 2000) decode", "decoder", "decoder"),
    ("Activation", "Relu (h3)", "", "decoder"),
    ("Linear layer fc4", "dimension (2000, 22000) decode", "head", "head"),
)
TABLE_3: tuple[Layer, ...] = (
    ("Conv1d", "in_chan=22, out_chan=40, kernel=20, stride=4", "conv", "conv"),
    ("Activation", "ReLU", "", "conv"),
    ("Dropout", "0.5", "", "conv"),
    ("BatchNorm1d", "40", "norm_conv", "norm_conv"),
    ("MaxPool1d", "pool=4, stride=4", "", ">CELL_1"),
    ("RNN/LSTM/GRU, layer 1 of 3", "in=40, hidden=64, dropout=0.5, bidirectional=True", "CELL_1", "CELL_1"),
    ("RNN/LSTM/GRU, layer 2 of 3", "", "CELL_2", "CELL_2"),
    ("RNN/LSTM/GRU, layer 3 of 3", "", "CELL_3", "CELL_3"),
    ("BatchNorm1d", "features=num_dir * 64", "norm_rnn", "norm_rnn"),
    ("Linear 1", "in=num_dir * 64 * (need calculate), out=64", "fc", "fc"),
    ("Linear 2", "in=64, out=4", "head", "head"),
)


def table_1() -> tuple[pd.DataFrame, list[str]]:
    """The report's Table 1, its ConvNet: a frame of text (a row per layer, and their sum), and footnotes."""
    frame = _layers(TABLE_1, {"parameters": (ConvNet(N_CLASSES), {})})
    return frame, [
        f"{SIZES} Before the first pool: samples x channels x features.",
        "Both of the first two convolutions are followed by batch normalisation and an ELU, as printed; the article "
        "that the report follows has nothing between them.",
        "The report's text calls this network DeepConvNet as well; the article's of that name is Deep4Net here.",
    ]


def table_2() -> tuple[pd.DataFrame, list[str]]:
    """The report's Table 2, its VAE: a frame of text and footnotes."""
    frame = _layers(TABLE_2, {"parameters": (VAE(), {})})
    return frame, [
        SIZES,
        "The report's code has a code z of 2000 numbers and a decoder of 5000 units.",
        "The network behind it ('CNN') takes the reconstruction, reshaped to samples x channels, for its input.",
    ]


def table_3() -> tuple[pd.DataFrame, list[str]]:
    """The report's Table 3, its hybrid with each of the three cells: a frame of text and footnotes."""
    cells = ("lstm", "gru", "rnn")
    networks = {f"parameters, {cell.upper()}": (CNNRNN(N_CLASSES, cell), {"CELL": cell}) for cell in cells}
    return _layers(TABLE_3, networks), [SIZES, "Two biases per gate, as torch's cells have them."]


def _layers(layers: Iterable[Layer], networks: Mapping[str, tuple[nn.Module, dict[str, str]]]) -> pd.DataFrame:
    """A row per layer with its output and a column of parameters per network, whose names are put into the layers'."""
    traced = {column: (*_trace(module), named) for column, (module, named) in networks.items()}
    rows = []
    for layer, note, module, seen in layers:
        row = {"layer": layer, "note": note}
        for column, (counts, shapes, named) in traced.items():
            row["output"] = " x ".join(map(str, shapes[_put(seen, named)]))
            row[column] = f"{counts[_put(module, named)]:,}" if module else ""
        rows.append(row)
    totals = {column: f"{sum(counts.values()):,}" for column, (counts, _, _) in traced.items()}
    return pd.DataFrame([*rows, {"layer": "all", "note": "", "output": "", **totals}])


def _put(name: str, named: Mapping[str, str]) -> str:
    for word, text in named.items():
        name = name.replace(word, text)
    return name


def _trace(network: nn.Module) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """Parameters of each module, and the shapes that it gives and (after '>') takes; nothing is computed."""
    shapes: dict[str, tuple[int, ...]] = {}

    def watch(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        outputs = call(*args, **kwargs)
        if context.module.path and context.method_name == "__call__":
            shapes[f">{context.module.path[0]}"] = args[0].shape[1:]
            shapes[context.module.path[0]] = outputs.shape[1:]
        return outputs

    trial = jax.ShapeDtypeStruct((1, N_TIMES, N_CHANS), jnp.float32)
    with nn.intercept_methods(watch):
        variables = jax.eval_shape(lambda key, x: network.init(key, x, train=False), jax.random.key(0), trial)
    params = variables["params"]
    return {name: sum(leaf.size for leaf in jax.tree.leaves(params[name])) for name in params}, shapes


def architectures(networks: Iterable[str]) -> dict[str, tuple[str, pd.DataFrame, list[str]]]:
    """The tables of layers of those networks: table -> title, frame and footnotes."""
    networks = list(networks)
    made = {
        "paper_table_1": ("conv_net", "Table 1: ConvNet", table_1),
        "paper_table_2": ("vae", "Table 2: VAE in front of a network", table_2),
        "paper_table_3": ("cnn_", "Table 3: CNN + RNN", table_3),
    }
    return {
        table: (title, *make())
        for table, (word, title, make) in made.items()
        if any(word in network for network in networks)
    }


# ---- performance, and how it came about


def performance(ours: Mapping[str, Mapping[str, float]]) -> tuple[pd.DataFrame, list[str]]:
    """The report's table of performance: its accuracies above ours.

    Args:
        ours: network of `MODELS` -> split of `SPLITS` -> accuracy, a share of 1; `nan` where there is none.

    Returns:
        A frame of text, two rows per network, and footnotes.
    """
    rows = []
    for model, scores in ours.items():
        shares = {"paper": PERFORMANCE[model], "ours": tuple(100 * scores[split] for split in SPLITS)}
        for source, percents in shares.items():
            cells = ["–" if percent != percent else f"{percent:.2f}" for percent in percents]
            rows.append({"algorithm": MODELS[model], "source": source} | dict(zip(SPLITS.values(), cells, strict=True)))
    return pd.DataFrame(rows), [
        "; ".join(f"{name}: {model}" for model, name in MODELS.items()) + ".",
        "Paper: 2115 trials for training and validation and 443 for testing, of session T of all nine subjects; its "
        "section 2 says 63 % and 60 % where abstract and table have 65.0 % and 61.4 %.",
    ]


def quirks(config: ConfigDict) -> list[str]:
    """What was done as in the report although the field holds it to be wrong, or does otherwise: one footnote each."""
    names = (config.model.name, *config.model.beside)
    model = config.model
    pooled = config.splits.kind == "pooled"
    published = config.protocol == "paper"
    vae, conv_net, resnet, hybrid = (
        any(word in name for name in names) for word in ("vae", "conv_net", "resnet", "cnn_")
    )
    found = {
        "One network runs through all folds without a restart: each fold's validation trials were trained on in the "
        "folds before, and say nothing of new ones. Numbers are those of the last fold.": carried_over(config),
        "One network runs through all folds without a restart: what one fold tests, others before it trained on.": (
            config.train.reuse_params_across_folds and not pooled
        ),
        "Trials of all subjects and runs are split at random, so that every tested trial has neighbours of its own run "
        "in training.": pooled,
        "Of each fold the weights with the lowest validation loss are kept; the report names no such choice.": pooled,
        "Each time sample has its own mean and standard deviation, over trials and channels, fitted on the training "
        "and the validation part together.": config.inputs.scale == "time",
        "The VAE minimises the cross-entropy of z-scores, which nothing bounds, and takes its second output for the "
        "logarithm of a standard deviation, both as in the report's code.": vae and model.vae.published,
        f"The VAE's latent size is {model.vae.n_latent}, its decoder has {model.vae.n_decoder} units: 20 and 2000 in "
        "the report's table, 2000 and 5000 in its code.": published and vae,
        "The VAE learns beside the network behind it, at the same learning rate; the report's had 0.00001.": (
            published and vae
        ),
        "The VAE filters all trials; in the report's code it filters those of training only.": (
            published and any(name.startswith("vae_") for name in names)
        ),
        f"ConvNet's dropout is {model.dropout:g}: the report's table says 0.25, its code 0.5.": (
            published and conv_net
        ),
        "ResNet-1D's convolutions are three samples wide; in the report's code they are one by a slip.": (
            published and resnet and model.variant == "text"
        ),
        "ResNet-1D's convolutions are one sample wide, by a slip of the report's code.": (
            resnet and model.variant == "code"
        ),
        "Weights decay apart from the gradient (AdamW); the report's Adam adds the decay to the gradient.": (
            published and hybrid and config.train.optimizer == "adam" and config.train.weight_decay > 0
        ),
        "Dropout stays on at test.": config.test.dropout,
        "Aligned by the tested subject's own trials, without their labels: transductive.": (
            config.inputs.align == "euclidean" and config.splits.kind == "loso"
        ),
    }
    return [text for text, holds in found.items() if holds]


def carried_over(config: ConfigDict) -> bool:
    """Whether the last fold's network is that of all folds."""
    return config.splits.kind == "pooled" and config.train.reuse_params_across_folds
