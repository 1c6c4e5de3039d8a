"""Several volumes that are written together, block by block."""

__all__ = ["JoinedSinks", "join_sinks"]


def join_sinks(begin):
    """Begin sinks that share their blocks, by functions ``begin(blocks)`` of which the first gets None.

    Where one cannot be begun, those before it leave nothing behind that was not there.
    """
    sinks: list = []
    try:
        for start in begin:
            sinks.append(start(sinks[0].blocks if sinks else None))
        for sink in sinks[1:]:
            if sink.blocks != sinks[0].blocks:
                raise ValueError(
                    f"{sink.path} was begun in other blocks than {sinks[0].path}; run without resume to start anew."
                )
    except BaseException:
        for sink in sinks:
            sink.close()
            if not sink.done:
                sink.discard()
        raise
    return JoinedSinks(sinks)


class JoinedSinks:
    """Sinks of the same blocks as one: a block is done when it is in all of them, and is given as a list of arrays."""

    def __init__(self, sinks):
        self._sinks = sinks

    @property
    def blocks(self):
        return self._sinks[0].blocks

    @property
    def done(self):
        everywhere = set.intersection(*(set(sink.done) for sink in self._sinks))
        return {index: counts for index, counts in self._sinks[0].done.items() if index in everywhere}

    @property
    def paths(self):
        return [sink.path for sink in self._sinks]

    def write_block(self, index, blocks, counts=None):
        for sink, block in zip(self._sinks, blocks, strict=True):
            sink.write_block(index, block, counts)

    def finish(self):
        """All take their names, one right after the other: what takes long is done before."""
        for sink in self._sinks:
            sink.complete()
        for sink in self._sinks:
            sink.finish()

    def close(self):
        for sink in self._sinks:
            sink.close()
