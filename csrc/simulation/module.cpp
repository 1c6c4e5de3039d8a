// tomolearn._simulation: phantoms for NumPy. Every function checks its own arguments, since the module can be called
// without the Python room above it, lets other Python threads run, and can be interrupted.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <sstream>

#include "ellipses.h"
#include "packing.h"
#include "spheres.h"

namespace py = pybind11;
using namespace tomolearn::simulation;

namespace {

using Table = py::array_t<double, py::array::c_style | py::array::forcecast>;

constexpr double kSmallest = 1e-9, kLargest = 1e9;  // pixels; squares and fourth powers of these are ordinary numbers
constexpr int64_t kMaxSupersampling = 64, kMaxThreads = 1024;

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw py::value_error(message.str());
}

void check_signals() {
  py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

int64_t check_count(int64_t value, const char* name, int64_t low, int64_t high = int64_t{1} << 31) {
  if (value < low || value > high) refuse(name, " must be an integer from ", low, " to ", high, "; got ", value, ".");
  return value;
}

double check_length(double value, const char* name) {
  if (!(value >= kSmallest && value <= kLargest))
    refuse(name, " must lie within ", kSmallest, " and ", kLargest, " pixels; got ", value, ".");
  return value;
}

// An array of this shape, or the error NumPy has for one that is too large.
template <class T>
py::array_t<T> make_array(const std::vector<py::ssize_t>& shape) {
  double bytes = sizeof(T);
  for (const py::ssize_t n : shape) bytes *= static_cast<double>(n);
  if (bytes > 0x1p62) throw std::bad_alloc();
  return py::array_t<T>(shape);
}

// What the columns of a table of shapes are called and which of them are sizes. The first is the value, which may be
// any finite number; the others are lengths and angles.
struct Columns {
  const char* table;
  std::vector<const char*> names;
  py::ssize_t first_size, last_size;
  const char* size_rule;
};

void check_table(const Table& table, const Columns& columns) {
  const auto n = static_cast<py::ssize_t>(columns.names.size());
  if (table.ndim() != 2 || table.shape(1) != n) refuse(columns.table, " must have shape (n, ", n, ").");
  for (py::ssize_t i = 0; i < table.shape(0); i++)
    for (py::ssize_t j = 0; j < n; j++) {
      const double v = table.at(i, j);
      const char* rule = nullptr;
      if (!std::isfinite(v))
        rule = "finite numbers";
      else if (j >= columns.first_size && j <= columns.last_size && !(v >= kSmallest && v <= kLargest))
        rule = columns.size_rule;
      else if (j > 0 && std::abs(v) > kLargest)
        rule = "positions and angles within 1e9";
      if (rule) refuse(columns.table, " must have ", rule, "; got ", columns.names[j], " = ", v, " in row ", i, ".");
    }
}

std::vector<Ellipse> read_ellipses(const Table& table) {
  check_table(table, {"ellipses", {"value", "a", "b", "x0", "y0", "phi"}, 1, 2, "semi-axes from 1e-9 to 1e9 pixels"});
  std::vector<Ellipse> ellipses;
  for (py::ssize_t i = 0; i < table.shape(0); i++) {
    const double* e = table.data(i, 0);
    ellipses.push_back({e[0], e[1], e[2], e[3], e[4], e[5]});
  }
  return ellipses;
}

std::vector<Sphere> read_spheres(const Table& table) {
  check_table(table, {"spheres", {"value", "x", "y", "z", "r"}, 4, 4, "radii from 1e-9 to 1e9 pixels"});
  std::vector<Sphere> spheres;
  for (py::ssize_t i = 0; i < table.shape(0); i++) {
    const double* s = table.data(i, 0);
    spheres.push_back({s[0], s[1], s[2], s[3], s[4]});
  }
  return spheres;
}

// centers: (1, n_angles) or (n_slices, n_angles).
Scan read_scan(const Table& angles, const Table& centers, int64_t n_slices, int64_t n_detectors, double spacing) {
  if (angles.ndim() != 1) refuse("angles must have one dimension.");
  if (centers.ndim() != 2 || centers.shape(1) != angles.shape(0) ||
      (centers.shape(0) != 1 && centers.shape(0) != n_slices))
    refuse("center must have shape (1, n_angles) or (n_slices, n_angles).");
  const auto check_finite = [](const Table& values, const char* name) {
    if (!std::all_of(values.data(), values.data() + values.size(), [](double v) { return std::abs(v) <= kLargest; }))
      refuse(name, " must hold finite numbers within 1e9.");
  };
  check_finite(angles, "angles");
  check_finite(centers, "center");
  check_count(n_detectors, "n_detectors", 1);
  check_length(spacing, "detector_spacing");
  return {angles.data(), angles.shape(0), centers.data(), centers.shape(0) > 1, n_detectors, spacing};
}

py::array_t<double> ellipse_sinogram(const Table& table, const Table& angles, const Table& centers, int64_t n_detectors,
                                     double spacing, bool bin_average) {
  const std::vector<Ellipse> ellipses = read_ellipses(table);
  const Scan scan = read_scan(angles, centers, 1, n_detectors, spacing);
  auto out = make_array<double>({scan.n_angles, n_detectors});
  double* data = out.mutable_data();
  {
    py::gil_scoped_release release;
    Poll poll(check_signals);
    std::fill(data, data + scan.n_angles * n_detectors, 0.0);
    add_ellipse_sinogram(ellipses, scan, bin_average, poll, data);
  }
  return out;
}

py::array_t<double> ellipse_image(const Table& table, int64_t rows, int64_t columns, int64_t supersampling) {
  const std::vector<Ellipse> ellipses = read_ellipses(table);
  check_count(rows, "rows", 1);
  check_count(columns, "columns", 1);
  check_count(supersampling, "supersampling", 0, kMaxSupersampling);
  auto out = make_array<double>({rows, columns});
  double* data = out.mutable_data();
  {
    py::gil_scoped_release release;
    Poll poll(check_signals);
    std::fill(data, data + rows * columns, 0.0);
    add_ellipse_image(ellipses, rows, columns, static_cast<int>(supersampling), poll, data);
  }
  return out;
}

template <class T>
py::array project(const std::vector<Sphere>& spheres, const Scan& scan, int64_t n_slices, int64_t supersampling,
                  int64_t n_threads) {
  auto out = make_array<T>({n_slices, scan.n_angles, scan.n_detectors});
  T* data = out.mutable_data();
  {
    py::gil_scoped_release release;
    Poll poll(check_signals);
    project_spheres(spheres, scan, n_slices, static_cast<int>(supersampling), static_cast<int>(n_threads), poll, data);
  }
  return out;
}

py::array sphere_projections(const Table& table, const Table& angles, const Table& centers, int64_t n_slices,
                             int64_t n_detectors, double spacing, int64_t supersampling, bool single,
                             int64_t n_threads) {
  const std::vector<Sphere> spheres = read_spheres(table);
  check_count(n_slices, "n_slices", 1);
  check_count(supersampling, "supersampling", 1, kMaxSupersampling);
  check_count(n_threads, "n_threads", 1, kMaxThreads);
  const Scan scan = read_scan(angles, centers, n_slices, n_detectors, spacing);
  return single ? project<float>(spheres, scan, n_slices, supersampling, n_threads)
                : project<double>(spheres, scan, n_slices, supersampling, n_threads);
}

template <class T>
py::array fill(const std::vector<Sphere>& spheres, int64_t n_slices, int64_t rows, int64_t columns,
               int64_t supersampling, int64_t n_threads) {
  auto out = make_array<T>({n_slices, rows, columns});
  T* data = out.mutable_data();
  {
    py::gil_scoped_release release;
    Poll poll(check_signals);
    fill_spheres(spheres, n_slices, rows, columns, static_cast<int>(supersampling), static_cast<int>(n_threads), poll,
                 data);
  }
  return out;
}

py::array sphere_volume(const Table& table, int64_t n_slices, int64_t rows, int64_t columns, int64_t supersampling,
                        bool single, int64_t n_threads) {
  const std::vector<Sphere> spheres = read_spheres(table);
  check_count(n_slices, "n_slices", 1);
  check_count(rows, "rows", 1);
  check_count(columns, "columns", 1);
  check_count(supersampling, "supersampling", 1, kMaxSupersampling);
  check_count(n_threads, "n_threads", 1, kMaxThreads);
  return single ? fill<float>(spheres, n_slices, rows, columns, supersampling, n_threads)
                : fill<double>(spheres, n_slices, rows, columns, supersampling, n_threads);
}

py::array_t<double> pack_spheres(int64_t n, double min_radius, double max_radius, double radius, double height,
                                 int64_t n_candidates, uint64_t seed) {
  constexpr int64_t kMost = 100'000'000;  // ids are 32 bits wide, and this takes some 10 GB
  check_count(n, "n_spheres", 0, kMost);
  check_count(n_candidates, "n_candidates", 1, kMost);
  const Cylinder cylinder{check_length(radius, "radius"), check_length(height, "height")};
  check_length(min_radius, "radius_range[0]");
  check_length(max_radius, "radius_range[1]");
  if (min_radius > max_radius) refuse("radius_range must ascend; got (", min_radius, ", ", max_radius, ").");
  if (min_radius > cylinder.radius || min_radius > cylinder.height / 2)
    refuse("radius_range[0] must fit the cylinder of radius ", radius, " and height ", height, "; got ", min_radius,
           ".");
  std::vector<Ball> balls;
  {
    py::gil_scoped_release release;
    Poll poll(check_signals);
    balls = pack_balls(n, min_radius, max_radius, cylinder, n_candidates, seed, poll);
  }
  auto out = make_array<double>({static_cast<py::ssize_t>(balls.size()), 4});
  static_assert(sizeof(Ball) == 4 * sizeof(double));
  std::copy_n(reinterpret_cast<const double*>(balls.data()), 4 * balls.size(), out.mutable_data());
  return out;
}

}  // namespace

PYBIND11_MODULE(_simulation, m) {
  using py::arg;
  m.doc() = "Images, volumes and exact projections of ellipses and spheres, and random packings of spheres.";
  m.def("ellipse_sinogram", &ellipse_sinogram, arg("ellipses"), arg("angles"), arg("centers"), arg("n_detectors"),
        arg("spacing"), arg("bin_average"), "(n_angles, n_detectors) float64.");
  m.def("ellipse_image", &ellipse_image, arg("ellipses"), arg("rows"), arg("columns"), arg("supersampling"),
        "(rows, columns) float64; supersampling 0 is the exact share of each pixel's area.");
  m.def("sphere_projections", &sphere_projections, arg("spheres"), arg("angles"), arg("centers"), arg("n_slices"),
        arg("n_detectors"), arg("spacing"), arg("supersampling"), arg("single"), arg("n_threads"),
        "(n_slices, n_angles, n_detectors) float32 where single, else float64.");
  m.def("sphere_volume", &sphere_volume, arg("spheres"), arg("n_slices"), arg("rows"), arg("columns"),
        arg("supersampling"), arg("single"), arg("n_threads"),
        "(n_slices, rows, columns) float32 where single, else float64.");
  m.def("pack_spheres", &pack_spheres, arg("n"), arg("min_radius"), arg("max_radius"), arg("radius"), arg("height"),
        arg("n_candidates"), arg("seed"), "(at most n, 4) float64: x, y, z, r.");
}
