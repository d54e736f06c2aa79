// In the place of OHIF's rule, which opens a segmentation on the first slice that it marks: the end
// of a lesion, or of a smaller one. Segment 1 is the largest lesion of our results, and its middle
// the slice with most of its pixels; of several such slices the one between the others.
function middleOfLargest(images) {
  const areas = images.map(({ voxelManager }) => {
    const area = { ofFirst: 0, ofAll: 0 };
    for (const value of voxelManager.getScalarData()) {
      area.ofFirst += value === 1;
      area.ofAll += value !== 0;
    }
    return area;
  });
  for (const which of ["ofFirst", "ofAll"]) {
    const most = areas.reduce((found, area) => Math.max(found, area[which]), 0);
    if (most) {
      const largest = images.filter((_image, place) => areas[place][which] === most);
      return largest[Math.floor((largest.length - 1) / 2)].referencedImageId;
    }
  }
  return null;
}
