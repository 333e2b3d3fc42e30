"""The files in which a system reports its memory and disks, in a temporary folder."""

import pytest

from lightning_maxent.free_space import bytes_on_disk, disk_left, in_words, memory_left, rounded_down

GIB = 1_024**3


def system(root, groups: str, files: dict[str, str]):
    """16 GiB available on the machine, and these control groups."""
    for name, text in {
        "proc/meminfo": f"MemTotal: 99 kB\nMemAvailable:   {16 * GIB // 1024} kB\n",
        "proc/self/cgroup": groups,
    }.items() | files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        ("", {}, 16),
        ("0::/\n", {}, 16),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.current": "9\n"}, 16),
        (  # a container, which sees its own group as the root; cache is given back
            "0::/\n",
            {
                "sys/fs/cgroup/memory.max": f"{8 * GIB}\n",
                "sys/fs/cgroup/memory.current": f"{6 * GIB}\n",
                "sys/fs/cgroup/memory.stat": f"anon 7\ninactive_file {GIB}\n",
            },
            3,
        ),
        (  # a job of a cluster: what its parent allows counts too
            "0::/job/step\n",
            {
                "sys/fs/cgroup/job/step/memory.max": "max\n",
                "sys/fs/cgroup/job/step/memory.current": "1\n",
                "sys/fs/cgroup/job/memory.max": f"{4 * GIB}\n",
                "sys/fs/cgroup/job/memory.current": f"{2 * GIB}\n",
            },
            2,
        ),
        (  # version 1
            "5:cpu:/\n4:hugetlb,memory:/job\n0::/\n",
            {
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{5 * GIB}\n",
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": f"{3 * GIB}\n",
                "sys/fs/cgroup/memory/job/memory.stat": f"inactive_file 1\ntotal_inactive_file {2 * GIB}\n",
            },
            4,
        ),
    ],
)
def test_free_memory_is_limited_by_the_machine_and_by_every_control_group(groups, files, left, tmp_path):
    assert memory_left(system(tmp_path, groups, files)) == left * GIB


def test_free_memory_is_unknown_where_the_system_does_not_report_it(tmp_path):
    assert memory_left(tmp_path) is None


def test_free_disk_of_a_missing_folder_is_that_of_its_nearest_parent(tmp_path):
    assert disk_left(tmp_path / "not" / "yet") == pytest.approx(disk_left(tmp_path), rel=0.01)
    assert disk_left(tmp_path) > 0


def test_the_size_of_a_sparse_file_counts_only_written_blocks(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10**9)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "whole").write_bytes(b"1" * 8_192)
    assert bytes_on_disk(tmp_path) == 8_192
    assert bytes_on_disk(tmp_path / "none") == 0


def test_sizes_are_printed_in_readable_units():
    assert [in_words(size) for size in (999, 1_500, 2_500_000, 26_500 * 10**6, 1_230 * 10**9)] == [
        "999 bytes",
        "1.5 kB",
        "2.5 MB",
        "26.5 GB",
        "1.23 TB",
    ]
    assert [rounded_down(number) for number in (7, 83, 839, 83_521, 0)] == [7, 83, 830, 83_000, 0]
