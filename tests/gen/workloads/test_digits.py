"""The digits task: how the data are cut."""

import numpy as np
import pytest

from wingbeat.gen.workloads import digits


@pytest.fixture(scope="module")
def split():
    return digits.load_split()


def test_split_holds_out_30_percent_of_every_class_and_shares_no_image(split):
    for label in range(10):
        held, trained = (int(np.sum(part == label)) for part in (split.held_labels, split.train_labels))
        assert held == round(0.3 * (held + trained))
    assert len(split.held_labels) + len(split.train_labels) == 1797
    assert len(np.unique(split.held_indices)) == len(split.held_indices)
    # Indices of both parts cover the data: the pixels of all images add up.
    everything = np.concatenate([split.held_images, split.train_images])
    assert len(np.unique(everything.reshape(1797, -1), axis=0)) == 1797


def test_split_and_its_fingerprint_are_always_the_same(split):
    again = digits.load_split()
    np.testing.assert_array_equal(again.held_indices, split.held_indices)
    assert split.fingerprint == "7bff1391578ce3dc9cbfd6d9986c324ead5f13e8d4263408ff49b75853238ca9"


def test_pixels_are_between_minus_one_and_one(split):
    for images in (split.train_images, split.held_images):
        assert images.min() == -1 and images.max() == 1


def test_patches_are_squares_of_neighbours_row_after_row():
    image = np.arange(64).reshape(1, 8, 8)
    tokens = digits.cut_patches(image)
    assert tokens.shape == (1, 16, 4)
    np.testing.assert_array_equal(tokens[0, :5], [[0, 1, 8, 9], [2, 3, 10, 11], [4, 5, 12, 13], [6, 7, 14, 15],
                                                  [16, 17, 24, 25]])


def test_patches_join_to_their_images(split):
    np.testing.assert_array_equal(digits.join_patches(digits.cut_patches(split.held_images)), split.held_images)
