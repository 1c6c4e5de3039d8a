// extract_patches and stitch_patches on the CPU: rows of patches and rows of images, dealt out to torch's threads.
#include "../common/patches.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <climits>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "runtime.h"

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Sizes = std::vector<int64_t>;

namespace tomolearn {
namespace {

// A patch operator: three axes (the first of 2-D patches has one pixel) and how the last one falls into runs.
struct Grid {
  static constexpr int one = 0;
  PatchAxis z{1, 1, 1, &one, nullptr}, y, x;
  std::vector<PatchRun> runs;     // of the last axis, patch after patch
  std::vector<size_t> run_begin;  // (x.count + 1,)

  int64_t n_patches() const { return z.count * y.count * x.count; }
  int64_t patch_size() const { return z.size * y.size * x.size; }
  int64_t image_size() const { return z.extent * y.extent * x.extent; }
};

Grid make_grid(const Tensor& index, const std::optional<Tensor>& weight, const Sizes& counts, const Sizes& patch_shape,
               const Sizes& image_shape) {
  const size_t n_axes = counts.size();
  STD_TORCH_CHECK((n_axes == 2 || n_axes == 3) && patch_shape.size() == n_axes && image_shape.size() == n_axes,
                  "patches have 2 or 3 axes, and images as many and one more for the stack");
  int64_t total = 0;
  for (size_t a = 0; a < n_axes; a++) {
    STD_TORCH_CHECK(counts[a] > 0 && patch_shape[a] > 0 && image_shape[a] > 0, "patches and images must not be empty");
    STD_TORCH_CHECK(counts[a] <= INT_MAX && patch_shape[a] <= INT_MAX, "an axis has too many patches or too wide ones");
    total += counts[a] * patch_shape[a];
  }
  STD_TORCH_CHECK(index.is_cpu() && index.scalar_type() == ScalarType::Int && index.is_contiguous() && index.numel() == total,
                  "index must be a contiguous int32 tensor of ", total, " values on the CPU");
  STD_TORCH_CHECK(!weight || (weight->is_cpu() && weight->scalar_type() == ScalarType::Double && weight->is_contiguous() &&
                              weight->numel() == total),
                  "weight must be a contiguous float64 tensor of ", total, " values on the CPU");
  Grid grid;
  const int* indices = static_cast<const int*>(index.data_ptr());
  const double* weights = weight ? static_cast<const double*>(weight->data_ptr()) : nullptr;
  for (size_t a = 0; a < n_axes; a++) {
    const PatchAxis axis{image_shape[a], counts[a], patch_shape[a], indices, weights};
    const int64_t length = counts[a] * patch_shape[a];
    for (int64_t k = 0; k < length; k++)
      STD_TORCH_CHECK(indices[k] >= -1 && indices[k] < axis.extent, "index holds ", indices[k], " for an axis of ", axis.extent,
                      " pixels");
    (a + 1 == n_axes ? grid.x : a + 2 == n_axes ? grid.y : grid.z) = axis;
    indices += length;
    if (weights) weights += length;
  }
  for (int64_t patch = 0; patch < grid.x.count; patch++) {
    grid.run_begin.push_back(grid.runs.size());
    for (int64_t element = 0; element < grid.x.size; element += grid.runs.back().length)
      grid.runs.push_back(patch_run(grid.x, patch, element));
  }
  grid.run_begin.push_back(grid.runs.size());
  return grid;
}

// Splits `rows` rows of `length` elements evenly among the threads; f(begin, end).
template <class F>
void parallel_rows(int64_t rows, int64_t length, const F& f) {
  constexpr int64_t worth_a_thread = 1 << 15;  // elements
  const int64_t threads = torch::stable::get_num_threads(), useful = rows * length / worth_a_thread + 1;
  const int64_t parts = useful < threads ? useful : threads;
  torch::stable::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; part++) f(rows * part / parts, rows * (part + 1) / parts);
  });
}

// Sixteen bytes, the vector that every machine has: GCC leaves these loops scalar at -O2, and wider ones gain nothing here
// because the memory is the limit.
template <class T>
struct Lanes {
  typedef T type __attribute__((vector_size(16)));
  static constexpr int64_t count = 16 / sizeof(T);

  static type load(const T* from) {
    type lanes;
    std::memcpy(&lanes, from, sizeof lanes);
    return lanes;
  }
  static void store(T* to, type lanes) { std::memcpy(to, &lanes, sizeof lanes); }
};

// to[k] = from[step k]
template <class T>
void copy_run(T* to, const T* from, int64_t length, int step) {
  if (step == 1) std::memcpy(to, from, length * sizeof(T));
  else
    for (int64_t k = 0; k < length; k++) to[k] = from[-k];
}

// to[k] = scale weight[k] from[step k]
template <class T>
void copy_run(T* to, const T* from, int64_t length, int step, T scale, const T* weight) {
  using V = Lanes<T>;
  int64_t k = 0;
  if (step == 1)
    for (; k + V::count <= length; k += V::count) V::store(to + k, scale * V::load(weight + k) * V::load(from + k));
  for (; k < length; k++) to[k] = scale * weight[k] * from[step * k];
}

// to[step k] += scale weight[k] from[k]; without weights to[step k] += from[k]
template <bool weighted, class T>
void add_run(T* to, const T* from, int64_t length, int step, T scale, const T* weight) {
  using V = Lanes<T>;
  int64_t k = 0;
  if (step == 1)
    for (; k + V::count <= length; k += V::count) {
      const auto term = weighted ? scale * V::load(weight + k) * V::load(from + k) : V::load(from + k);
      V::store(to + k, V::load(to + k) + term);
    }
  for (; k < length; k++) to[step * k] += weighted ? scale * weight[k] * from[k] : from[k];
}

template <class T>
std::vector<T> row_weights(const PatchAxis& x) {
  return x.weight ? std::vector<T>(x.weight, x.weight + x.count * x.size) : std::vector<T>();
}

// One row of one patch. `from` is the row of the image it reads.
template <class T>
void extract_row(const Grid& g, int64_t patch_x, const T* from, T* to, T scale, const T* weights) {
  for (size_t r = g.run_begin[patch_x]; r < g.run_begin[patch_x + 1]; r++) {
    const PatchRun& run = g.runs[r];
    T* first = to + run.element;
    if (run.step == 0) std::memset(first, 0, run.length * sizeof(T));
    else if (!weights) copy_run(first, from + run.pixel, run.length, run.step);
    else copy_run(first, from + run.pixel, run.length, run.step, scale, weights + patch_x * g.x.size + run.element);
  }
}

template <class T>
void extract(const Grid& g, const T* images, T* patches, int64_t n_images) {
  const std::vector<T> weights = row_weights<T>(g.x);
  const int64_t n_planes = n_images * g.n_patches() * g.z.size;
  parallel_rows(n_planes * g.y.size, g.x.size, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end;) {
      const int64_t plane = row / g.y.size, number = plane / g.z.size, element_z = plane % g.z.size;
      const int64_t patch_x = number % g.x.count, patch_y = number / g.x.count % g.y.count;
      const int64_t patch_z = number / (g.x.count * g.y.count) % g.z.count;
      const T* image = images + number / g.n_patches() * g.image_size();
      const int64_t plane_end = (plane + 1) * g.y.size < end ? (plane + 1) * g.y.size : end;
      for (int64_t element_y = row % g.y.size; row < plane_end; element_y++, row++) {
        const PatchRow source = patch_row(g.z, g.y, patch_z, patch_y, element_z, element_y);
        T* to = patches + row * g.x.size;
        if (source.image_row < 0) std::memset(to, 0, g.x.size * sizeof(T));
        else
          extract_row(g, patch_x, image + source.image_row * g.x.extent, to, static_cast<T>(source.weight),
                      g.x.weight ? weights.data() : nullptr);
      }
    }
  });
}

// The table of an axis by pixels.
struct Taps {
  std::vector<int64_t> begin;
  std::vector<PatchTap> taps;

  explicit Taps(const PatchAxis& axis) : begin(axis.extent + 2), taps(axis.count * axis.size) {
    transpose_axis(axis, begin.data(), taps.data());
  }
};

// Adds one row of every patch along the last axis to the row of the image they lie on. `from` is the row of the first one.
template <bool weighted, class T>
void add_row(const Grid& g, const T* from, T* to, T scale, const T* weights) {
  const int64_t patch_size = g.patch_size();
  for (int64_t patch_x = 0; patch_x < g.x.count; patch_x++, from += patch_size)
    for (size_t r = g.run_begin[patch_x]; r < g.run_begin[patch_x + 1]; r++) {
      const PatchRun& run = g.runs[r];
      if (run.step)
        add_run<weighted>(to + run.pixel, from + run.element, run.length, run.step, scale,
                          weighted ? weights + patch_x * g.x.size + run.element : nullptr);
    }
}

template <bool weighted, class T>
void stitch(const Grid& g, const T* patches, T* images, int64_t n_images) {
  const std::vector<T> weights = row_weights<T>(g.x);
  const Taps z(g.z), y(g.y);
  const int64_t rows_per_image = g.z.extent * g.y.extent;
  // A thread owns whole rows of the image and adds to each in the order of the patches: no atomics, and the same sum
  // whatever the number of threads. The row stays in the cache while it is added to.
  parallel_rows(n_images * rows_per_image, g.x.extent, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
      const int64_t pixel_z = row % rows_per_image / g.y.extent, pixel_y = row % g.y.extent;
      const T* stack = patches + row / rows_per_image * g.n_patches() * g.patch_size();
      T* to = images + row * g.x.extent;
      std::memset(to, 0, g.x.extent * sizeof(T));
      for (int64_t i = z.begin[pixel_z]; i < z.begin[pixel_z + 1]; i++)
        for (int64_t j = y.begin[pixel_y]; j < y.begin[pixel_y + 1]; j++)
          add_row<weighted>(g, stack + patch_row_offset(g.z, g.y, g.x, z.taps[i], y.taps[j]), to,
                            static_cast<T>(z.taps[i].weight * y.taps[j].weight), weights.data());
    }
  });
}

Tensor extract_patches(const Tensor& images, const Tensor& index, std::optional<Tensor> weight, Sizes counts,
                       Sizes patch_shape) {
  const Tensor input = torch::stable::contiguous(images);
  const auto sizes = input.sizes();
  STD_TORCH_CHECK(sizes.size() >= 3, "images must have 3 or 4 dimensions, got ", sizes.size());
  const Grid grid = make_grid(index, weight, counts, patch_shape, Sizes(sizes.begin() + 1, sizes.end()));
  Sizes shape{sizes[0], grid.n_patches()};
  shape.insert(shape.end(), patch_shape.begin(), patch_shape.end());
  Tensor patches = torch::stable::new_empty(input, shape);
  if (patches.numel() == 0) return patches;
  advise_huge_pages(patches.data_ptr(), patches.numel() * patches.element_size());
  const auto run = [&]<class T>(T) {
    extract(grid, static_cast<const T*>(input.data_ptr()), static_cast<T*>(patches.data_ptr()), sizes[0]);
  };
  if (weight) {
    STD_TORCH_CHECK(input.scalar_type() == ScalarType::Float || input.scalar_type() == ScalarType::Double,
                    "images must be float32 or float64 where patches are weighted");
    input.scalar_type() == ScalarType::Float ? run(float{}) : run(double{});
    return patches;
  }
  switch (input.element_size()) {  // a copy: only the size matters
    case 1: run(uint8_t{}); break;
    case 2: run(uint16_t{}); break;
    case 4: run(uint32_t{}); break;
    case 8: run(uint64_t{}); break;
    default: STD_TORCH_CHECK(false, "images must have elements of 1, 2, 4 or 8 bytes");
  }
  return patches;
}

Tensor stitch_patches(const Tensor& patches, const Tensor& index, std::optional<Tensor> weight, Sizes counts,
                      Sizes image_shape) {
  const Tensor input = torch::stable::contiguous(patches);
  const auto sizes = input.sizes();
  STD_TORCH_CHECK(sizes.size() >= 4, "patches must have 4 or 5 dimensions, got ", sizes.size());
  const Grid grid = make_grid(index, weight, counts, Sizes(sizes.begin() + 2, sizes.end()), image_shape);
  STD_TORCH_CHECK(sizes[1] == grid.n_patches(), "patches holds ", sizes[1], " patches, the grid has ", grid.n_patches());
  STD_TORCH_CHECK(input.scalar_type() == ScalarType::Float || input.scalar_type() == ScalarType::Double,
                  "patches must be float32 or float64");
  Sizes shape{sizes[0]};
  shape.insert(shape.end(), image_shape.begin(), image_shape.end());
  Tensor images = torch::stable::new_empty(input, shape);
  if (images.numel() == 0) return images;
  advise_huge_pages(images.data_ptr(), images.numel() * images.element_size());
  const auto run = [&]<class T>(T) {
    const T* from = static_cast<const T*>(input.data_ptr());
    T* to = static_cast<T*>(images.data_ptr());
    weight ? stitch<true>(grid, from, to, sizes[0]) : stitch<false>(grid, from, to, sizes[0]);
  };
  input.scalar_type() == ScalarType::Float ? run(float{}) : run(double{});
  return images;
}

}  // namespace
}  // namespace tomolearn

STABLE_TORCH_LIBRARY_IMPL(tomolearn, CPU, m) {
  m.impl("extract_patches", TORCH_BOX(&tomolearn::extract_patches));
  m.impl("stitch_patches", TORCH_BOX(&tomolearn::stitch_patches));
}
