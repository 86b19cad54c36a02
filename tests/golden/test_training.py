# SPDX-License-Identifier: Apache-2.0
"""One step of training: the same loss, the same gradients and the same loss afterwards as in Keras."""
import glob
import os

import numpy as np
import pytest
import torch_check
import training_check

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "training")
MODELS = sorted(glob.glob(os.path.join(FOLDER, "*.h5")))


@pytest.mark.parametrize("model", MODELS, ids=os.path.basename)
def test_trains_as_keras_does(model, tmp_path):
    errors = training_check.convert_and_compare(torch_check.find_program(), model, tmp_path)
    off = {name: "%.2g" % error for name, error in errors.items() if not error <= training_check.TOLERANCE}
    assert len(errors) > 10 and not off


def test_there_are_models():
    assert len(MODELS) >= 2


def test_rearrangements_are_followed():
    a = np.arange(24.0).reshape(4, 6)
    assert training_check.rearranged(a, "as is") is a
    assert np.array_equal(training_check.rearranged(a, "view(2,2,6).permute(2,0,1)"), a.reshape(2, 2, 6).transpose(2, 0, 1))
    with pytest.raises(torch_check.Mismatch):
        training_check.rearranged(a, "order(1,0)")
