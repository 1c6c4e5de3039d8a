// Extraction and stitching of patches, both gathers: a thread owns an element of a patch, or a pixel of an image, to which
// it adds the patches in their order. See common/patches.h for the tables.
#pragma once
#include "../common/patches.h"
#include "slices.cuh"

namespace tomolearn::cuda {

struct PatchGrid {  // 2-D patches have a first axis of one element
  PatchAxis z, y, x;

  int64_t n_patches;   // of an image
  int64_t patch_size;  // elements
  int64_t image_size;  // pixels
};

// The table of an axis by pixels: transpose_axis of common/patches.h.
struct PixelTaps {
  const int64_t* begin;
  const PatchTap* taps;
};

constexpr int kPatchThreads = 256;

// T: the type of the values, or where there are no weights any type of their size.
template <class T, bool WEIGHTED>
TOMO_KERNEL(kPatchThreads) extract_elements(PatchGrid g, const T* images, T* patches, int64_t total) {
  const int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < total; i += step) {
    const int64_t number = i / g.patch_size, element = i % g.patch_size, patch = number % g.n_patches;
    const int64_t patch_x = patch % g.x.count, patch_y = patch / g.x.count % g.y.count, patch_z = patch / (g.x.count * g.y.count);
    const int64_t element_x = element % g.x.size, element_y = element / g.x.size % g.y.size;
    const PatchRow row = patch_row(g.z, g.y, patch_z, patch_y, element / (g.x.size * g.y.size), element_y);
    const int pixel_x = g.x.index[patch_x * g.x.size + element_x];
    T value{};
    if (row.image_row >= 0 && pixel_x >= 0) {
      value = images[number / g.n_patches * g.image_size + row.image_row * g.x.extent + pixel_x];
      if constexpr (WEIGHTED) {
        using A = typename Sum<T>::type;
        narrow(A(row.weight) * A(patch_weight(g.x, patch_x, element_x)) * widen(value), &value);
      }
    }
    patches[i] = value;
  }
}

template <class T, bool WEIGHTED>
TOMO_KERNEL(kPatchThreads)
stitch_pixels(PatchGrid g, PixelTaps z, PixelTaps y, PixelTaps x, const T* patches, T* images, int64_t total) {
  using A = typename Sum<T>::type;
  const int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < total; i += step) {
    const int64_t pixel = i % g.image_size, pixel_x = pixel % g.x.extent;
    const int64_t pixel_y = pixel / g.x.extent % g.y.extent, pixel_z = pixel / (g.x.extent * g.y.extent);
    const T* stack = patches + i / g.image_size * g.n_patches * g.patch_size;
    A sum = 0;
    for (int64_t a = z.begin[pixel_z]; a < z.begin[pixel_z + 1]; a++)
      for (int64_t b = y.begin[pixel_y]; b < y.begin[pixel_y + 1]; b++) {
        const T* row = stack + patch_row_offset(g.z, g.y, g.x, z.taps[a], y.taps[b]);
        const A weight = A(z.taps[a].weight * y.taps[b].weight);
        for (int64_t c = x.begin[pixel_x]; c < x.begin[pixel_x + 1]; c++) {
          const A value = widen(row[x.taps[c].patch * g.patch_size + x.taps[c].element]);
          sum += WEIGHTED ? weight * A(x.taps[c].weight) * value : value;
        }
      }
    narrow(sum, &images[i]);
  }
}

}  // namespace tomolearn::cuda
