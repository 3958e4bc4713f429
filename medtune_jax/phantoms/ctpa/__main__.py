"""python -m medtune_jax.phantoms.ctpa DIR [PATIENTS]: phantom CT angiograms as DICOM, with masks of their emboli."""

import sys
from pathlib import Path

from medtune_jax.phantoms.ctpa.files import write_dicom_study

if __name__ == "__main__":
    folder, patients = Path(sys.argv[1]), int([*sys.argv[2:], "4"][0])
    write_dicom_study(folder, patients, emboli=5)
    print(f"patients: {folder}")
