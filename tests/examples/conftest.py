# SPDX-License-Identifier: Apache-2.0
"""The examples, run as they stand, against a real h5ptd."""
import importlib.util
import os

HERE = os.path.dirname(os.path.abspath(__file__))
# The daemon is started and watched as in the black-box tests.
_spec = importlib.util.spec_from_file_location("blackbox_conftest", os.path.join(os.path.dirname(HERE), "blackbox", "conftest.py"))
blackbox = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(blackbox)
start_daemon, gate = blackbox.start_daemon, blackbox.gate
