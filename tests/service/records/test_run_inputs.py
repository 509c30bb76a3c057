"""Run inputs are read of datasets that are there."""

import pytest

from service.errors import NotFoundError
from service.records.run_inputs import RunInputReader
from storage.datasets.store import DatasetStore


@pytest.mark.parametrize("name", ["", "../x", "ds_x"])
def test_a_name_that_no_dataset_can_have_is_not_found(tmp_path, name):
    with pytest.raises(NotFoundError, match="no dataset"):
        RunInputReader(DatasetStore(tmp_path)).read([name])
