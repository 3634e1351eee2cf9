"""Sleep staging from multitaper images: VGG16, and VGG16 + ConvLSTM.

    python launch/main.py --config=configs/sleep.py                 demo: simulated nights
    python launch/main.py --config=configs/sleep.py:standard --config.model.weights=FILE --config.data.root=FOLDER
    python launch/main.py --config=configs/sleep.py:paper --config.model.weights=FILE --config.data.root=FOLDER

The demo takes 230 s of CPU time on two cores (AMD EPYC) and gives both networks a Cohen's kappa of .672 on two held-out
simulated subjects (.692 and .680 smoothed), between band powers' .543 and the ceiling's .806.

Keys: model=vgg16|vgg16_conv_lstm|lstm, size=tiny|small|full.
"""

from eegjax.studies.sleep.config import get_config

__all__ = ["get_config"]
