import pytest

from aurora_trl.data import synthetic


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory):
    return synthetic.write_dataset(tmp_path_factory.mktemp("data") / "synthetic", num_clips=9, num_eval_clips=3)
