"""Which mask belongs to which image, by the names of their files."""

import os
from collections import Counter

SHOWN = 5  # names that a message lists
MOST_RULES = 64


def listed(names, most=SHOWN):
    """The first of some names, and how many more there are."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + rest


def stem(path):
    """The name of a file without its folder and its suffix."""
    return os.path.splitext(os.path.basename(os.fspath(path)))[0]


def pair_names(images, others, kind="masks"):
    """For each of the files ``images`` the position of its partner among the files ``others``.

    Two files belong together if their stems are equal, or are equal once one prefix and one suffix that all of a side
    have in common are left out: ``img_007`` and ``mask_007``, ``a`` and ``a_label``.

    Raises
    ------
    ValueError
        If a file has no partner or more than one; the message lists them.
    """
    if len(images) == len(others) == 1:  # one file each is a pair whatever they are called
        return [0]
    ours, theirs = _stems(images, "images"), _stems(others, kind)
    rules = [("", "", "", ""), *_rules(ours, theirs)]
    left, right = max(
        (_apply(ours, theirs, rule) for rule in rules), key=lambda keys: len(keys[0].keys() & keys[1].keys())
    )
    singular = kind.removesuffix("s")
    faults = []
    if lonely := [images[i] for key, i in left.items() if key not in right]:
        faults.append(f"{len(lonely)} of {len(images)} images have no {singular}: {listed(lonely)}")
    if lonely := [others[i] for key, i in right.items() if key not in left]:
        faults.append(f"{len(lonely)} of {len(others)} {kind} have no image: {listed(lonely)}")
    if faults:
        raise ValueError(
            f"images and {kind} must pair by the names of their files, equal but for one prefix or suffix such as img_ "
            f"and mask_; {'; '.join(faults)}. Rename or remove these files, or give lists of open_volume(path), which "
            "pair by their order."
        )
    return [right[key] for key in left]


def _stems(files, kind):
    stems = [stem(file) for file in files]
    twice = [name for name, count in Counter(stems).items() if count > 1]
    if twice:
        raise ValueError(
            f"the files of {kind} must have names of their own to be paired; these come more than once: "
            f"{listed(twice)}. Remove or rename one of each."
        )
    return stems


def _rules(left, right):
    """(prefix, suffix of the left side, prefix, suffix of the right side) that make some of the names equal."""
    rules: dict[tuple[str, str, str, str], None] = {}
    probes = sorted({0, len(right) // 2, len(right) - 1})  # one of them has a partner, unless most have none
    for name in (right[i] for i in probes):
        found = [(*_cores(other, name), other) for other in left]
        longest = max(length for length, _, _ in found)
        for length, starts, other in found:
            for i, j in starts if length == longest else ():
                rules[(other[:i], other[i + length :], name[:j], name[j + length :])] = None
    return list(rules)[:MOST_RULES]


def _cores(a, b):
    """Length of the longest texts that two names have in common, and where each begins in either."""
    lengths, longest = [0] * (len(b) + 1), 1
    ends: list[tuple[int, int]] = []
    for i, letter in enumerate(a, 1):
        row = [0] * (len(b) + 1)
        for j, other in enumerate(b, 1):
            if letter == other:
                row[j] = lengths[j - 1] + 1
                if row[j] > longest:
                    longest, ends = row[j], []
                if row[j] == longest:
                    ends.append((i - longest, j - longest))
        lengths = row
    return (longest if ends else 0), ends


def _apply(left, right, rule):
    """{what is left of a name: position} of either side; a name that the rule does not fit keeps all of itself."""
    keys: list[dict] = []
    for names, prefix, suffix in ((left, *rule[:2]), (right, *rule[2:])):
        keys.append({})
        for i, name in enumerate(names):
            fits = name.startswith(prefix) and name.endswith(suffix) and len(name) > len(prefix) + len(suffix)
            key = name[len(prefix) : len(name) - len(suffix)] if fits else (name,)
            keys[-1][key if key not in keys[-1] else (name,)] = i
    return keys
