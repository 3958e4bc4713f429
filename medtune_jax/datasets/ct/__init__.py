"""CT volumes from DICOM, NIfTI or NRRD, in Hounsfield units on one canonical grid."""
