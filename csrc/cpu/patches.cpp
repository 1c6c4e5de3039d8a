// extract_patches and stitch_patches on the CPU: rows of patches and rows of images, dealt out to torch's threads.
#include <torch/csrc/stable/library.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "../arguments.h"
#include "runtime.h"

namespace tomolearn {
namespace {

// A patch operator: three axes and how the last one falls into runs.
struct Grid {
  PatchAxis z, y, x;
  std::vector<PatchRun> runs;     // of the last axis, patch after patch
  std::vector<size_t> run_begin;  // (x.count + 1,)

  int64_t n_patches() const { return z.count * y.count * x.count; }
  int64_t patch_size() const { return z.size * y.size * x.size; }
  int64_t image_size() const { return z.extent * y.extent * x.extent; }
};

Grid make_grid(const std::array<PatchAxis, 3>& axes) {
  Grid grid{axes[0], axes[1], axes[2], {}, {}};
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
  Sizes shape;
  const Grid grid = make_grid(check_extract(images, index, weight, counts, patch_shape, Half::refused, &shape));
  const Tensor input = torch::stable::contiguous(images);
  Tensor patches = torch::stable::new_empty(input, shape);
  if (patches.numel() == 0) return patches;
  advise_huge_pages(patches.data_ptr(), patches.numel() * patches.element_size());
  const auto run = [&]<class T>(T) {
    extract(grid, static_cast<const T*>(input.data_ptr()), static_cast<T*>(patches.data_ptr()), shape[0]);
  };
  if (weight) {
    input.scalar_type() == ScalarType::Float ? run(float{}) : run(double{});
    return patches;
  }
  switch (input.element_size()) {  // a copy
    case 1: run(uint8_t{}); break;
    case 2: run(uint16_t{}); break;
    case 4: run(uint32_t{}); break;
    default: run(uint64_t{});
  }
  return patches;
}

Tensor stitch_patches(const Tensor& patches, const Tensor& index, std::optional<Tensor> weight, Sizes counts,
                      Sizes image_shape) {
  Sizes shape;
  const Grid grid = make_grid(check_stitch(patches, index, weight, counts, image_shape, Half::refused, &shape));
  const Tensor input = torch::stable::contiguous(patches);
  Tensor images = torch::stable::new_empty(input, shape);
  if (images.numel() == 0) return images;
  advise_huge_pages(images.data_ptr(), images.numel() * images.element_size());
  const auto run = [&]<class T>(T) {
    const T* from = static_cast<const T*>(input.data_ptr());
    T* to = static_cast<T*>(images.data_ptr());
    weight ? stitch<true>(grid, from, to, shape[0]) : stitch<false>(grid, from, to, shape[0]);
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
