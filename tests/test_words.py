"""Numbers and nouns in sentences."""

from medtune_jax.words import count


def test_numbers_and_nouns_agree():
    assert [count(n, noun) for n, noun in ((1, "patches"), (2, "patches"), (1, "videos"))] == [
        "1 patch",
        "2 patches",
        "1 video",
    ]
    assert count(12345, "images") == "12,345 images"
