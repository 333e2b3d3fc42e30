import os

import pytest

from lightning_maxent.errors import MaxEntError
from lightning_maxent.files import write_whole


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary_file(operation, tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    write_whole(path, "old\n")

    def full(*args) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, full)
        with pytest.raises(MaxEntError, match=r"config.yaml cannot be written \(No space left on device\): make room"):
            write_whole(path, "new and longer\n")
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]
    write_whole(path, "naïve\r\n")
    assert path.read_bytes() == "naïve\r\n".encode()
