// Runs the launchers of csrc/cuda on requests from a file, with every buffer a heap block of its exact size.
//
//   run_kernels REQUESTS RESULTS
//
// A request is 16 int64 numbers (operation, kind of values, ...), float64 tables, and the values; see tests/emulated.py.
#include <cstdio>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "../../csrc/cuda/median.cuh"
#include "../../csrc/cuda/patches.cuh"
#include "../../csrc/cuda/projector.cuh"

using namespace tomolearn;

namespace {

class EmulatedDevice {
 public:
  explicit EmulatedDevice(int64_t max_blocks) : max_blocks_(max_blocks) {}

  void* allocate(std::size_t bytes) {
    memory_.emplace_back(new unsigned char[bytes]);
    std::memset(memory_.back().get(), 0xFF, bytes);
    return memory_.back().get();
  }
  const void* upload(const void* from, std::size_t bytes) { return std::memcpy(allocate(bytes), from, bytes); }
  void* stream() const { return nullptr; }
  int64_t max_blocks() const { return max_blocks_; }
  void check_launch() const {}

 private:
  int64_t max_blocks_;
  std::vector<std::unique_ptr<unsigned char[]>> memory_;
};

struct Header {
  int64_t operation, values, max_blocks, rest[13];
};

class Files {
 public:
  Files(const char* requests, const char* results) : in_(std::fopen(requests, "rb")), out_(std::fopen(results, "wb")) {
    if (!in_ || !out_) emulator::fail("cannot open the files");
  }
  ~Files() { std::fclose(in_), std::fclose(out_); }
  Files(const Files&) = delete;

  bool read_header(Header* header) { return std::fread(header, sizeof *header, 1, in_) == 1; }

  template <class T>
  std::unique_ptr<T[]> read(int64_t n) {
    std::unique_ptr<T[]> values(new T[n]);
    if (std::fread(values.get(), sizeof(T), n, in_) != std::size_t(n)) emulator::fail("a request is cut short");
    return values;
  }

  template <class T>
  void write(const T* values, int64_t n) {
    std::fwrite(values, sizeof(T), n, out_);
  }

 private:
  std::FILE *in_, *out_;
};

// rest: footprint, slices, rows, columns, angles, detectors, centres. Tables: spacing, angles, centres.
template <class S>
void run_projector(Files& files, const Header& h) {
  const int64_t n_slices = h.rest[1], rows = h.rest[2], columns = h.rest[3];
  const int64_t n_angles = h.rest[4], n_detectors = h.rest[5], n_centers = h.rest[6];
  const auto spacing = files.read<double>(1), angles = files.read<double>(n_angles);
  const auto center = files.read<double>(n_centers * n_angles);
  const int64_t image = n_slices * rows * columns, sinogram = n_slices * n_angles * n_detectors;
  const bool forward = h.operation == 0;
  const auto in = files.read<S>(forward ? image : sinogram);
  const int64_t n_out = forward ? sinogram : image;
  std::unique_ptr<S[]> out(new S[n_out]);
  std::memset(static_cast<void*>(out.get()), 0xFF, n_out * sizeof(S));
  const Geometry g{int(rows), int(columns), int(n_angles), int(n_detectors), spacing[0], angles.get(), center.get()};
  const Footprint footprint = h.rest[0] ? Footprint::pixel : Footprint::line;
  const cuda::Request<S> request{g, n_centers, footprint, in.get(), out.get(), n_slices};
  EmulatedDevice device(h.max_blocks);
  forward ? cuda::launch_project(device, request) : cuda::launch_backproject(device, request);
  files.write(out.get(), n_out);
}

// rest: images, whether weighted, then extents, counts and sizes of the three axes. Tables: indices, weights.
template <class T, bool WEIGHTED>
void run_patches(Files& files, const Header& h) {
  PatchAxis axes[3];
  std::unique_ptr<int[]> index[3];
  std::unique_ptr<double[]> weight[3];
  for (int a = 0; a < 3; a++) {
    axes[a] = {h.rest[2 + a], h.rest[5 + a], h.rest[8 + a], nullptr, nullptr};
    index[a] = files.read<int>(axes[a].count * axes[a].size);
    axes[a].index = index[a].get();
  }
  for (int a = 0; WEIGHTED && a < 3; a++) {
    weight[a] = files.read<double>(axes[a].count * axes[a].size);
    axes[a].weight = weight[a].get();
  }
  const cuda::PatchGrid grid = cuda::make_patch_grid(axes[0], axes[1], axes[2]);
  const bool extracts = h.operation == 2;
  const int64_t image = h.rest[0] * grid.image_size, patches = h.rest[0] * grid.n_patches * grid.patch_size;
  const auto in = files.read<T>(extracts ? image : patches);
  const int64_t n_out = extracts ? patches : image;
  std::unique_ptr<T[]> out(new T[n_out]);
  std::memset(static_cast<void*>(out.get()), 0xFF, n_out * sizeof(T));
  EmulatedDevice device(h.max_blocks);
  if (extracts) cuda::launch_extract<T, WEIGHTED>(device, grid, in.get(), out.get(), h.rest[0]);
  else cuda::launch_stitch<T, WEIGHTED>(device, grid, in.get(), out.get(), h.rest[0]);
  files.write(out.get(), n_out);
}

// rest: slices, length, lanes, size.
template <class T>
void run_median(Files& files, const Header& h) {
  using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>;
  const MedianTask task{h.rest[0], int(h.rest[1]), h.rest[2], int(h.rest[3])};
  const int64_t n = task.n_slices * task.length * task.lanes;
  const auto in = files.read<Bits>(n);
  std::unique_ptr<Bits[]> out(new Bits[n]);
  std::memset(static_cast<void*>(out.get()), 0xFF, n * sizeof(Bits));
  EmulatedDevice device(h.max_blocks);
  cuda::launch_median(device, task, in.get(), out.get());
  files.write(out.get(), n);
}

template <class T>
void run(Files& files, const Header& h) {
  if (h.operation < 2) run_projector<T>(files, h);
  else if (h.operation == 4) run_median<T>(files, h);
  else if (h.rest[1]) run_patches<T, true>(files, h);
  else run_patches<T, false>(files, h);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  Files files(argv[1], argv[2]);
  for (Header h; files.read_header(&h);) {
    if (h.values == 0) run<float>(files, h);
    if (h.values == 1) run<double>(files, h);
    if (h.values == 2) run<__half>(files, h);
  }
  return 0;
}
