"""The CUDA emulator catches the mistakes it is there to catch, plainly or sanitized, and raises no false alarm."""

import shutil

import pytest
from emulator.building import CXX, KINDS, ORDERS, build, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(CXX[0]) is None, reason="needs a C++ compiler"),
]

RIGHT = ("neighbours", "sum", "shuffles", "increment")
WRONG_RESULT = ("missing_leading_barrier", "missing_trailing_barrier", "read_unset")
# What the sanitizer says, and the build that must say it.
REPORTED = [
    ("overrun", "address", "heap-buffer-overflow"),
    ("dynamic_overrun", "address", "heap-buffer-overflow"),
    ("row_overrun", "address", "index 8 out of bounds for type 'float [8]'"),
    ("missing_leading_barrier", "thread", "data race"),
    ("missing_trailing_barrier", "thread", "data race"),
    ("no_atomic", "thread", "data race"),
    ("blocks_collide", "thread", "data race"),
]
REFUSED = [
    ("barrier_in_branches", "divergent barrier, threads of a block wait at"),
    ("barrier_after_return", "but others have returned"),
    ("shuffle_in_a_branch", "hangs: lanes of a warp wait at"),
    ("empty_grid", "the grid is empty"),
    ("large_grid", "the grid is too large"),
    ("large_block", "the block has too many threads"),
    ("large_shared", "more than 48 KiB of shared memory"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS)
def test_right_kernels_are_right_in_every_order(kind, order):
    done = run(build("faults.cpp", kind), *RIGHT, order=order)
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n" * len(RIGHT), ""), done


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", WRONG_RESULT)
def test_a_mistake_shows_in_the_result_whatever_the_order(name, order):
    done = run(build("faults.cpp", "plain"), name, order=order)
    assert (done.returncode, done.stdout) == (1, "wrong\n"), done


@pytest.mark.parametrize("order", ["forward", "random:1"])
@pytest.mark.parametrize(("name", "kind", "report"), REPORTED)
def test_a_sanitizer_reports_the_line_of_the_mistake(name, kind, report, order):
    done = run(build("faults.cpp", kind), name, order=order)
    assert done.returncode not in (0, 2) and report in done.stderr and "faults.cpp:" in done.stderr, done


@pytest.mark.parametrize(
    ("name", "message", "kind"),
    [*((*case, "plain") for case in REFUSED), (*REFUSED[0], "address"), (*REFUSED[1], "thread")],
)
def test_what_a_gpu_would_refuse_or_hang_at_ends_the_process(name, message, kind):
    done = run(build("faults.cpp", kind), name)
    assert done.returncode == 70 and message in done.stderr, done


def test_an_unknown_order_is_refused():
    done = run(build("faults.cpp", "plain"), "sum", order="sideways")
    assert done.returncode == 70 and "not sideways" in done.stderr, done
