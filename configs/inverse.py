"""Where in the head a scalp voltage comes from: V-Net and 3D U-Net on voxels, beside the classical inverses.

    python launch/main.py --config=configs/inverse.py                demo: MNE's template head
    python launch/main.py --config=configs/inverse.py:standard --config.data.root=FOLDER     real heads, one left out
    python launch/main.py --config=configs/inverse.py:paper          the paper's 4000 samples, 64 x 64 x 64 voxels

Keys: model=v_net|u_net, input=electrodes|eloreta, splits=random|head|search, size=tiny|small|full. All samples are
simulated, in every protocol; `root` holds heads (`subjects/NAME/bem`, `fsaverage5`), without it they are MNE's
template, warped.
"""

from eegjax.studies.inverse.config import get_config

__all__ = ["get_config"]
