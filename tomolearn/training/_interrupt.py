"""Ctrl-C that waits for the end of a step, so that what is saved belongs to one moment."""

import contextlib
import signal
import threading

__all__ = ["deferred_interrupt"]


@contextlib.contextmanager
def deferred_interrupt():
    """In the main thread, Ctrl-C is only noted: the first one; a second one interrupts at once.

    Yields
    ------
    list
        Not empty once Ctrl-C was pressed.
    """
    pressed: list[bool] = []
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
        yield pressed
        return

    def note(number, frame):
        if pressed:
            usual(number, frame)
        pressed.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, usual)
