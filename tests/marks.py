"Values of a parameter that are tried with the slow tests alone."
import pytest

def weekly(*values): return [pytest.param(v, marks=pytest.mark.slow) for v in values]
