"""Small spaces of configurations for the tests of `wingbeat explore`, whose estimates take milliseconds."""

from wingbeat.gen.explore.space.file import read_space

TEXT = """\
preset = "tiny"
device = "25k"
objectives = ["comb", "fft.cycles"]

[fields]
array.engines = [1, 2, 4]
array.layers = [1, 2]
array.half_words = [64, 100, 128]

[workloads.fft]
kernel = "fft"
points = 16

[front]
synthesis = false
simulation = false
"""
MORE = ("[1, 2]\n", "[1, 2]\narray.coefficient_words = [64, 80, 96, 112]\n")  # 40 legal points instead of 10


def write_space(folder, *changes, text=TEXT):
    """The space as a file, each pair of ``changes`` a text and what stands in its place."""
    for before, after in zip(changes[::2], changes[1::2]):
        assert before in text
        text = text.replace(before, after)
    path = folder / "space.toml"
    path.write_text(text)
    return path


def make_space(folder, *changes):
    """The same, read."""
    return read_space(write_space(folder, *changes))
