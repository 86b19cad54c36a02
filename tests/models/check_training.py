#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One step of training in torch against Keras, for large models.

    make_models.py -o DIR --size 96 ResNet50 MobileNetV2     with a Keras
    golden/make_training.py DIR/ResNet50.h5 ...              with the same Keras: DIR/ResNet50.training.npz
    H5PT_BUILD_DIR=build/release check_training.py DIR       with torch

Prints the error of the loss, the largest of the gradients, and that of the loss after the step.  Exit 1 when one is too large.
"""
import glob
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "golden"))
import torch_check
import training_check


def main():
    program, failed = torch_check.find_program(), 0
    files = sorted(glob.glob(os.path.join(sys.argv[1], "*.training.npz")))
    for file in files:
        model = file[: -len(".training.npz")] + ".h5"
        with tempfile.TemporaryDirectory() as folder:
            errors = training_check.convert_and_compare(program, model, folder)
        before, after = errors.pop("loss"), errors.pop("loss_after")
        worst = max(errors, key=errors.get)
        right = max(before, after, errors[worst]) <= training_check.TOLERANCE
        failed += not right
        print("%-20s loss %.1e  %d gradients, largest error %.1e (%s)  loss after %.1e  %s" % (os.path.basename(model), before, len(errors), errors[worst], worst, after, "ok" if right else "TOO FAR"), flush=True)
    sys.exit(failed > 0 or not files)


if __name__ == "__main__":
    main()
