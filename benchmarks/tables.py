"""Prints the tables of quality in README.md anew. (`make bench` prints those of speed.)

Classical reconstruction of the foam of examples/plot_low_dose_scan.py: exact projections of a foam cylinder with photon
noise, seed 0; the parameters were chosen on the foam of seed 1 (`--validate` there). PSNR and SSIM have the data range
of the truth, 0 to 1.

Learned reconstruction of DIVal's ellipses, of random shapes, and of the measured tooth where its data lie beside the
checkout: from the weights in weights/.
"""

import sys
from pathlib import Path

import reconstruction
import shapes
import tooth
from _timing import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from plot_low_dose_scan import compare, foam_scan  # noqa: E402  (the folder has to be on the path first)

if __name__ == "__main__":
    print(machine())
    compare(*foam_scan(seed=0))
    reconstruction.table()
    shapes.table()
    if tooth.data().exists():
        tooth.table()
