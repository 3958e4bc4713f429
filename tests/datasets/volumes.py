"""Small volumes of random HU, and files of them."""

import numpy as np
import pydicom
import SimpleITK

SPACING, ORIGIN = (2.5, 0.8, 0.7), (-30.0, 11.0, 5.0)


def write_nrrd(path, array, spacing, origin, direction=None):
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    image.SetOrigin(origin[::-1])
    if direction is not None:
        image.SetDirection(direction)
    SimpleITK.WriteImage(image, str(path))


def edit(path, **tags):
    ds = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(ds, name, value)
    ds.save_as(path)


def assert_same(volume, hu):
    assert volume.hu.dtype == np.int16
    np.testing.assert_array_equal(volume.hu, hu)
    np.testing.assert_allclose(volume.spacing, SPACING, rtol=1e-5)
    np.testing.assert_allclose(volume.origin, ORIGIN, atol=1e-4)
