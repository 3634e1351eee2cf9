"""The configuration of the study `inverse`: a function of the protocol and the keys behind it."""

from ml_collections import ConfigDict

from eegjax import protocols
from eegjax.protocols import ABOVE_0, BELOW_1, LARGEST, Bounds

NETWORKS = ("v_net", "u_net")
INPUTS = ("electrodes", "eloreta")
SPLITS = ("random", "head", "search")
PROTOCOLS = ("demo", "standard", "paper")
SIZES = ("tiny", "small", "full")
BOUNDS: dict[str, Bounds] = {
    "data.seed": (0, LARGEST),
    "data.n_heads": (1, 1000),
    "data.n_sources": (64, 20_000),
    "data.n_chans": (16, 256),
    "data.n_samples": (1, 9_000_000),
    "data.n_times": (1, 100_000),
    "data.n_voxels": (2, 256),
    "data.dilation": (1, 9),
    "data.left_out.n_sources": (64, 20_000),
    "data.left_out.n_samples": (1, 9_000_000),
    "data.patches.p_correlated": (0, 1),
    "data.patches.p_silent": (0, 1),
    "data.zones.n_active": (1, 20_000),
    "splits.test_share": (0, BELOW_1),
    "splits.validation_share": (0, BELOW_1),
    "model.depth": (0, 5),
    "model.width": (ABOVE_0, 64),
    "test.n_tuning": (1, LARGEST),
    "test.radius": (0, 1e6),
    "train.class_balance": (0, 10),
    "train.target_factor": (ABOVE_0, 1e9),
    "train.centre_value": (-1e9, 0),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "data.head": ("template", "sphere"),
    "data.target": ("centres", "sources"),
    "data.collisions": ("last", "max", "mean"),
    "test.unit": ("mm", "voxels"),
    "splits.kind": SPLITS,
    "inputs.kind": INPUTS,
    "model.name": NETWORKS,
    "data.sources": ("patches", "zones"),
    "train.loss": ("cross_entropy", "dice", "focal", "mse", "l1"),
    "test.matching": ("hungarian", "greedy", "greedy_distinct"),
}


KEYS = {"model": NETWORKS, "input": INPUTS, "splits": SPLITS, "size": SIZES}


def get_config(argument: str = "") -> ConfigDict:
    """The configuration of a protocol, with its keys."""
    protocol, keys = protocols.parse(argument, PROTOCOLS, KEYS)
    demo = protocol == "demo"
    published = protocol == "paper"
    config = ConfigDict({"study": "inverse", "protocol": protocol, "seed": 0})
    config.data = _data(protocol)
    config.splits = ConfigDict(
        {
            "kind": keys.get("splits", "head" if protocol == "standard" else "random"),
            "left_out": "",  # of kind "head": the name of the one that is tested; empty: the first
            "test_share": 0.2,  # of kind "random"; "search" is 1000 of what that trains on, a fifth of them tested
            "validation_share": 0.1,  # of what isn't tested; thresholds are chosen there. 0: on the training part
        }
    )
    config.inputs = ConfigDict({"kind": keys.get("input", "electrodes" if published else "eloreta")})
    config.model = ConfigDict(
        {
            "name": keys.get("model", "v_net"),
            "beside": (),  # also trained, on the same folds
            "width": 1.0,  # of all channels
            "depth": 4,  # levels; 0: all that the network has, V-Net 5 and U-Net 4
            "norm": "group",  # of U-Net: none, group
            "upsampling": "transposed",  # of U-Net: nearest, transposed
            "remat": False,  # values computed again for the gradient: half the memory, more time
            "grid_mask": True,  # only voxels that can hold a source are learnt and counted
        }
    )
    config.train = _train()
    config.test = protocols.test_settings()
    config.test.update(
        {
            "unit": "mm",  # of the radii: mm, voxels
            "radii": tuple(float(radius) for radius in range(0, 55, 5)),
            "radius": 30.0,  # the headline's, one of the radii
            "matching": "hungarian",  # one to one; greedy, greedy_distinct: as in the paper and its code
            "slips": (),  # of the authors' code: cumulative, drop_last (of the clusters), skip_empty (predictions)
            "n_tuning": 100,  # samples on which thresholds and regularisation are chosen, at most
            "train_part": published,  # predict the training part as well, `n_train_part` samples of it, evenly spread
            "n_train_part": 100,
            "classical": ("eLORETA",) if demo else ("MNE", "dSPM", "sLORETA", "eLORETA", "LCMV"),
        }
    )
    config.run = protocols.run_settings()
    if published:
        _as_published(config)
    _resize(config, keys.get("size", "small" if demo else "full"))
    return config


def _data(protocol: str) -> ConfigDict:
    """Heads, what happens in them, and the voxels that hold it."""
    return ConfigDict(
        {
            "root": "",  # folder of real heads; empty: MNE's template and warps of it
            "head": "template",  # or sphere, where the root has no others
            "n_heads": 5 if protocol == "standard" else 4,
            "n_sources": 1000,
            "n_chans": 128,  # of BioSemi's cap: 16, 32, 64, 128, 160, 256
            # conductivities, of the trained heads in turn; 0.006 is assumed
            "skull_s_per_m": (0.005, 0.006, 0.008, 0.012) if protocol == "standard" else (0.006,),
            "left_out": {  # how the head that is left out really is, each of these in turn; nothing of it is assumed
                "n_sources": 2000,
                "skull_s_per_m": (0.004, 0.010, 0.016),
                "coregistration_mm": (2.0, 4.0, 6.0),
                "coregistration_deg": (1.0, 2.0, 3.0),
                "coloured_noise": True,
                "n_samples": 300,
            },
            "seed": 0,
            "n_samples": 4000,  # over all trained heads
            "on_the_fly": False,  # simulated inside the compiled step, new ones at every step; nothing on disk
            "sources": "patches",  # zones: the paper's, a patch in each of 64 zones
            "patches": {
                "n_patches": (1, 20),
                "width_mm": (5.0, 40.0),  # full width at half maximum
                "p_correlated": 0.25,
                "p_silent": 0.05,
                "snr_db": (0.0, 30.0),
            },
            "zones": {"n_active": 66, "width_mm": (5.0, 40.0), "snr_db": ()},  # (): no noise
            "n_times": 1,  # from 100 on LCMV can be compared; networks see the instant of the strongest field
            "n_voxels": 16,  # a side
            "scaling": "affine",  # separate, paired: as published, an axis at a time
            "collisions": "max",  # what a voxel of two points holds: last, max, mean
            "dilation": 1,  # side of the cube that stands for a point, in voxels; 1, 5: as published
            "target": "centres",  # of patches; sources: every source that is active
        }
    )


def _train() -> ConfigDict:
    """How it is learnt."""
    train = protocols.train_settings()
    train.update(
        {
            "loss": "cross_entropy",  # dice, focal; of regression mse, l1
            "class_weights": (),  # (background, source) of the cross-entropy; (): n+/n- and 1, to the power of
            "class_balance": 1.0,  # 1: equal say for both; 0: none
            "target_factor": 1.0,  # regression learns the target times this
            "centre_value": 0.0,  # it learns in the ball amid the sources, -20 in the authors' code, unused; 0: none
            "learning_rate": 2e-3,
            "schedule": "cosine",
            "warmup_steps": 20,
            "weight_decay": 1e-4,
            "clip_norm": 1.0,
            "batch_size": 16,
            "n_epochs": 40,
            "max_loss": 1e4,  # the run ends at a larger one, and says why; 0: never
        }
    )
    return train


def _as_published(config: ConfigDict) -> None:
    """The paper as it was run; what is wrong with it stands below its tables."""
    config.data.update({"sources": "zones", "n_voxels": 64, "scaling": "separate", "collisions": "last"})
    config.data.target = "sources"
    config.splits.validation_share = 0.0
    config.model.update({"depth": 0, "norm": "none", "upsampling": "nearest"})
    config.model.grid_mask = False
    config.train.update({"class_weights": (1e-7, 1.0), "learning_rate": 1e-3, "schedule": "exponential"})
    config.train.update({"decay_per_epoch": 0.995, "warmup_steps": 0, "clip_norm": 0.0})
    config.train.update({"n_epochs": 270, "max_loss": 0.0, "decoupled_decay": False})
    v_net = config.model.name == "v_net"
    searching = config.splits.kind == "search"
    config.train.batch_size = 40 if v_net else 48  # the paper's text; the authors' files say 48 for V-Net too
    config.train.weight_decay = 1e-4 if v_net else 0.0
    if searching:
        config.train.update({"batch_size": 8 if v_net else 10, "n_epochs": 100})  # at most 100
    config.train.watch_test = True  # the paper's Figure 2 has it
    config.train.keep_epochs = (20, 120)  # the paper looked at those of 20, 120 and the last
    config.test.update({"unit": "voxels", "radii": tuple(float(radius) for radius in range(10)), "radius": 5.0})
    config.test.update({"matching": "greedy_distinct", "slips": ("cumulative", "drop_last", "skip_empty")})


def _resize(config: ConfigDict, size: str) -> None:
    demo = config.protocol == "demo"
    if demo and size == "small":
        config.data.update({"n_heads": 1, "n_samples": 4500})
        config.model.update({"width": 0.25, "depth": 2})
        config.splits.update({"test_share": 0.09, "validation_share": 0.02})
        config.train.n_epochs = 1
        config.test.n_tuning = 60
    if size == "small" and not demo:
        config.data.update({"n_voxels": 16, "n_samples": 4000})
        config.model.update({"width": 0.25, "depth": 2})
        config.train.n_epochs = 4
    if size == "tiny":
        config.data.update({"head": "sphere", "n_heads": 3, "n_sources": 100, "n_chans": 32, "n_samples": 24})
        config.data.update({"n_voxels": 16})
        config.data.left_out.update({"n_sources": 150, "n_samples": 6})
        config.model.update({"width": 0.125, "depth": 2})
        config.train.update({"n_epochs": 2, "batch_size": 4})
        config.test.n_tuning = 4
