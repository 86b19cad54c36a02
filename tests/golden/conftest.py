# SPDX-License-Identifier: Apache-2.0
import pytest
import torch_check


@pytest.fixture(scope="session")
def h5pt():
    return torch_check.find_program()


@pytest.fixture(scope="session")
def converted_layers():
    """The `layers` of the reports, by case: test_golden.py fills it, so that test_tables.py need not convert everything again."""
    return {}
