"""What the files of a series say, as plain values: files, slices, frames, grids, voxels."""
