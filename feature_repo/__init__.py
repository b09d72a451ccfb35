"""Features of a shop: the lowest package, which imports no other of ours.

The libraries below read these switches when they are first imported, so they are set here, before anything else of ours.
"""

import os

for _switch, _value in {
    "FEAST_USAGE": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",  # Evidently
}.items():
    os.environ.setdefault(_switch, _value)
