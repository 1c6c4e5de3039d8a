// Patches on a grid that is a product of axes: the tables that extraction and stitching share, on host and device.
//
// Every spatial axis has a table of its own. Element j of patch p reads pixel index[p, j] of the axis, or nothing (then it
// is zero) where that is negative, times weight[p, j]. With weight(p, j) the product over the axes,
//
//   extraction  patch[p, j] = weight(p, j) image[index(p, j)]
//   stitching   image[i]    = sum over all (p, j) with index(p, j) = i of weight(p, j) patch[p, j],
//
// one matrix and its transpose. Edge rules, blend windows and their normalisation are all in the tables.
#pragma once
#include <cstdint>

#include "platform.h"

namespace tomolearn {

struct PatchAxis {
  int64_t extent;        // pixels of the image
  int64_t count;         // patches
  int64_t size;          // elements of a patch
  const int* index;      // (count, size)
  const double* weight;  // (count, size); null: all ones
};

TOMO_HD double patch_weight(const PatchAxis& axis, int64_t patch, int64_t element) {
  return axis.weight ? axis.weight[patch * axis.size + element] : 1.0;
}

// A row of a patch along the last axis, as the two axes before it see it. 2-D patches have a first axis of one element.
struct PatchRow {
  int64_t image_row;  // z * rows + y of the image; negative: outside, the row of the patch is zero
  double weight;
};

TOMO_HD PatchRow patch_row(const PatchAxis& z, const PatchAxis& y, int64_t patch_z, int64_t patch_y, int64_t element_z,
                           int64_t element_y) {
  const int64_t pixel_z = z.index[patch_z * z.size + element_z], pixel_y = y.index[patch_y * y.size + element_y];
  if (pixel_z < 0 || pixel_y < 0) return {-1, 0.0};
  return {pixel_z * y.extent + pixel_y, patch_weight(z, patch_z, element_z) * patch_weight(y, patch_y, element_y)};
}

// What a pixel of an axis receives when patches are stitched: one tap for each element that reads it.
struct PatchTap {
  int patch, element;
  double weight;
};

// First element of a row of a patch in patches (z.count, y.count, x.count, z.size, y.size, x.size), x patch number 0.
TOMO_HD int64_t patch_row_offset(const PatchAxis& z, const PatchAxis& y, const PatchAxis& x, const PatchTap& tap_z,
                                 const PatchTap& tap_y) {
  const int64_t first_patch = (tap_z.patch * y.count + tap_y.patch) * x.count;
  return ((first_patch * z.size + tap_z.element) * y.size + tap_y.element) * x.size;
}

// Transposes a table: the taps of pixel i are taps[begin[i]] .. taps[begin[i + 1] - 1], in the order of the patches.
// `begin` holds extent + 2 numbers (the last one is scratch), `taps` as many as the table has elements.
inline void transpose_axis(const PatchAxis& axis, int64_t* begin, PatchTap* taps) {
  for (int64_t i = 0; i < axis.extent + 2; i++) begin[i] = 0;
  for (int64_t k = 0; k < axis.count * axis.size; k++)
    if (axis.index[k] >= 0) begin[axis.index[k] + 2]++;
  for (int64_t i = 2; i < axis.extent + 2; i++) begin[i] += begin[i - 1];
  for (int64_t k = 0; k < axis.count * axis.size; k++)
    if (axis.index[k] >= 0)
      taps[begin[axis.index[k] + 1]++] = {static_cast<int>(k / axis.size), static_cast<int>(k % axis.size),
                                          axis.weight ? axis.weight[k] : 1.0};
}

// Elements of one patch that read neighbouring pixels, forwards (step 1) or, reflected, backwards (-1); step 0: outside.
struct PatchRun {
  int64_t element, length, pixel;
  int step;
};

// The longest run of the table that starts at `element` of `patch`.
inline PatchRun patch_run(const PatchAxis& axis, int64_t patch, int64_t element) {
  const int* index = axis.index + patch * axis.size;
  int64_t end = element + 1;
  if (index[element] < 0) {
    while (end < axis.size && index[end] < 0) end++;
    return {element, end - element, 0, 0};
  }
  const int step = end < axis.size && index[end] == index[element] - 1 && index[end] >= 0 ? -1 : 1;
  while (end < axis.size && index[end] >= 0 && index[end] == index[end - 1] + step) end++;
  return {element, end - element, index[element], step};
}

}  // namespace tomolearn
