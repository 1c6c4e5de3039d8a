// The kernels of the Fourier method; compiled once for each SIMD level (setup.py), each into a namespace of its own.
#include "fourier.h"
#include "kernels/fourier_image.h"

namespace tomolearn::TOMOLEARN_LEVEL {
namespace {

// Rays to an image: the sum over all frequencies of all rays. And its exact transpose.
template <class T, bool SINGLE, bool OWN>
void adjoint_of(const FourierScan& scan, const T* projections, T* images, int n_slices) {
  const ImageStage<T, SINGLE> image(scan);
  const RayStage<T, SINGLE, OWN> rays(scan);
  Buffer<Cell<T, SINGLE>> half_image(scan.rows * image.half_width(scan)),
      frequencies((scan.n_angles + 3) * rays.ray_length(scan));  // read ahead
  rays.adjoint(projections, n_slices, frequencies);
  image.adjoint_columns(frequencies, half_image);
  image.adjoint_rows(half_image, n_slices, images);
}

template <class T, bool SINGLE, bool OWN>
void project_of(const FourierScan& scan, const T* images, T* projections, int n_slices) {
  const ImageStage<T, SINGLE> image(scan);
  const RayStage<T, SINGLE, OWN> rays(scan);
  const int64_t length = rays.ray_length(scan);
  Buffer<Cell<T, SINGLE>> half_image(scan.rows * image.half_width(scan)), frequencies(scan.n_angles * length);
  for (int ray = 0; ray < scan.n_angles; ray++) {
    const int n = scan.n_frequencies[ray];
    memset((void*)(frequencies + ray * length + n), 0, sizeof(Cell<T, SINGLE>) * (length - n));
  }
  image.project_rows(images, n_slices, half_image);
  image.project_columns(half_image, frequencies);
  rays.project(frequencies, n_slices, projections);
}

template <class T>
void adjoint(const FourierScan& scan, const T* in, T* out, int n_slices) {
  if (scan.center_stride)
    adjoint_of<T, false, true>(scan, in, out, n_slices);
  else
    adjoint_of<T, false, false>(scan, in, out, n_slices);
}
template <class T>
void project(const FourierScan& scan, const T* in, T* out, int n_slices) {
  if (scan.center_stride)
    project_of<T, false, true>(scan, in, out, n_slices);
  else
    project_of<T, false, false>(scan, in, out, n_slices);
}

}  // namespace

extern const FourierMethod fourier_table;
const FourierMethod fourier_table = {
    adjoint<float>,  project<float>,
    adjoint<double>, project<double>,
    adjoint_of<float, true, true>,  project_of<float, true, true>,
    adjoint_of<double, true, true>, project_of<double, true, true>,
};

}  // namespace tomolearn::TOMOLEARN_LEVEL
