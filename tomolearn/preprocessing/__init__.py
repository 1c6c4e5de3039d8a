"""Corrections from raw counts to line integrals: functions on stacks of sinograms, and transformers over them."""

from tomolearn.preprocessing.air import AirNormalizer, normalize_air
from tomolearn.preprocessing.center import (
    find_center,
    find_center_entropy,
    find_center_phase,
    find_center_vo,
)
from tomolearn.preprocessing.flat import FlatFieldCorrector, flat_field
from tomolearn.preprocessing.log import MinusLog, minus_log
from tomolearn.preprocessing.outliers import BadPixelRepairer, ZingerRemover, remove_zingers, repair_pixels
from tomolearn.preprocessing.phase import PaganinFilter, alpha_to_delta_beta, halo_rows, paganin_filter
from tomolearn.preprocessing.shape import SinogramBinner, SinogramPadder, bin_stack, pad_detectors
from tomolearn.preprocessing.stitching import HalfAcquisitionStitcher, find_center_360, stitch_half_acquisition
from tomolearn.preprocessing.stripe_remover import StripeRemover, remove_stripes
from tomolearn.preprocessing.stripes import (
    remove_stripes_all,
    remove_stripes_filtering,
    remove_stripes_large,
    remove_stripes_offset,
    remove_stripes_sorting,
    remove_stripes_unresponsive,
)
from tomolearn.preprocessing.stripes_wavelet import remove_stripes_wavelet

__all__ = [
    "AirNormalizer",
    "BadPixelRepairer",
    "FlatFieldCorrector",
    "HalfAcquisitionStitcher",
    "MinusLog",
    "PaganinFilter",
    "SinogramBinner",
    "SinogramPadder",
    "StripeRemover",
    "ZingerRemover",
    "alpha_to_delta_beta",
    "bin_stack",
    "find_center",
    "find_center_360",
    "find_center_entropy",
    "find_center_phase",
    "find_center_vo",
    "flat_field",
    "halo_rows",
    "minus_log",
    "normalize_air",
    "pad_detectors",
    "paganin_filter",
    "remove_stripes",
    "remove_stripes_all",
    "remove_stripes_filtering",
    "remove_stripes_large",
    "remove_stripes_offset",
    "remove_stripes_sorting",
    "remove_stripes_unresponsive",
    "remove_stripes_wavelet",
    "remove_zingers",
    "repair_pixels",
    "stitch_half_acquisition",
]
