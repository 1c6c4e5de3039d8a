"""Several processes as one: the batch is divided among them and their gradients are added.

Processes are started by ``torchrun`` or by the caller, never here. Gradients are averaged by one reduction of all of
them after each backward pass, not by hooks in a wrapped module: a model may run several backward passes, penalties with
second derivatives, or parts of its modules, and the sum is still that of the whole batch.
"""

import os

import torch
import torch.distributed as dist

__all__ = ["add_gradients", "add_up", "join", "of_first", "rank", "share", "size"]


def join(device: torch.device) -> None:
    """Enter the group of processes that torchrun has started, if it has and nobody entered it before."""
    if dist.is_available() and not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if "MASTER_ADDR" in os.environ and "RANK" in os.environ:
            # Losses and counts are added up on the processor, which NCCL does not serve.
            dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


def size() -> int:
    """Number of processes that train together; 1 without a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is; 0 prints and saves."""
    return dist.get_rank() if size() > 1 else 0


def of_first(make):
    """What ``make()`` gives in the first process, in all of them; only there it is called."""
    if size() == 1:
        return make()
    found = [make() if rank() == 0 else None]
    dist.broadcast_object_list(found, 0)
    return found[0]


def share(indices):
    """This process' part of the samples of a batch; where there is nothing left for it, the first one.

    Returns
    -------
    indices : ndarray
    weight : float
        By which its mean loss enters the sum of all the processes; 0 for a sample that another one counts.
    """
    n, count = len(indices), size()
    if count == 1:
        return indices, 1.0
    own = indices[rank() :: count]
    return (own, len(own) / n) if len(own) else (indices[:1], 0.0)


def add_gradients(parameters) -> None:
    """Replace each gradient by the sum over all processes."""
    if size() == 1:
        return
    parameters = [p for p in parameters if p.requires_grad]
    for dtype in dict.fromkeys(p.dtype for p in parameters):  # in one order in all processes, as of a set it is not
        group = [p for p in parameters if p.dtype == dtype]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in group])
        dist.all_reduce(flat)
        for p, part in zip(group, flat.split([p.numel() for p in group]), strict=True):
            p.grad = part.view_as(p).clone()


def add_up(values: torch.Tensor) -> torch.Tensor:
    """The sum of ``values`` over all processes."""
    if size() > 1:
        dist.all_reduce(values)
    return values
