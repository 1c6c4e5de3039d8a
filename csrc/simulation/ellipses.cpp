#include "ellipses.h"

namespace tomolearn::simulation {
namespace {

struct Point {
  double x, y;
};

double dot(Point p, Point q) { return p.x * q.x + p.y * q.y; }
double cross(Point p, Point q) { return p.x * q.y - p.y * q.x; }

// Signed area of the triangle (origin, p, p + edge) that lies in the unit disc. Summed over the edges of a polygon,
// these are the area of the polygon that lies in the disc. turn is cross(p, edge), of which all areas are multiples: the
// caller knows it to more digits where pixels are tiny against the ellipse.
double triangle_in_disc(Point p, Point edge, double turn) {
  const double length2 = dot(edge, edge), along = dot(p, edge), outside = dot(p, p) - 1;
  const auto at = [&](double t) { return Point{p.x + t * edge.x, p.y + t * edge.y}; };
  // Between the rays from the origin through two points of the edge.
  const auto sector = [&](double from, double to) {
    return 0.5 * std::atan2((to - from) * turn, dot(at(from), at(to)));
  };
  const double discriminant = along * along - length2 * outside;
  if (discriminant <= 0) return sector(0, 1);
  const double root = std::sqrt(discriminant);
  double enter = (-along - root) / length2, leave = (-along + root) / length2;
  if (leave <= 0 || enter >= 1) return sector(0, 1);
  enter = std::max(enter, 0.0);
  leave = std::min(leave, 1.0);
  return sector(0, enter) + 0.5 * (leave - enter) * turn + sector(leave, 1);
}

// An ellipse seen from pixels: which share of a pixel it covers.
class PixelShare {
 public:
  PixelShare(const Ellipse& e, int supersampling)
      : e_(e), n_(supersampling), cos_(std::cos(e.phi)), sin_(std::sin(e.phi)) {
    // In the frame where the ellipse is the unit disc a pixel is a parallelogram; reach_ is how far its samples lie
    // from its centre there. Pixels further than that from the unit circle need no samples.
    const double plus = std::hypot((cos_ + sin_) / e.a, (cos_ - sin_) / e.b) / 2;
    const double minus = std::hypot((cos_ - sin_) / e.a, (cos_ + sin_) / e.b) / 2;
    reach_ = std::max(plus, minus) * (n_ ? 1 - 1.0 / n_ : 1.0);
  }

  double half_width() const { return std::hypot(e_.a * cos_, e_.b * sin_); }
  double half_height() const { return std::hypot(e_.a * sin_, e_.b * cos_); }

  // Share of the pixel with its centre at (x, y).
  double operator()(double x, double y) const {
    constexpr double kGuard = 1e-12;  // pixels on the fence go through the samples
    const Point p = scaled(turned(x - e_.x, y - e_.y));
    const double distance = std::sqrt(dot(p, p));
    if (distance <= 1 - reach_ - kGuard) return 1;
    if (distance >= 1 + reach_ + kGuard) return 0;
    return n_ ? sampled(x - e_.x, y - e_.y) : covered(x - e_.x, y - e_.y);
  }

 private:
  Point turned(double dx, double dy) const { return {dx * cos_ + dy * sin_, dy * cos_ - dx * sin_}; }
  Point scaled(Point p) const { return {p.x / e_.a, p.y / e_.b}; }

  double sampled(double dx, double dy) const {
    const double a2 = e_.a * e_.a, b2 = e_.b * e_.b;
    int64_t count = 0;
    for (int64_t i = 0; i < n_; i++)
      for (int64_t j = 0; j < n_; j++) {
        const Point p = turned(dx + offset(j), dy + offset(i));
        count += p.x * p.x * b2 + p.y * p.y * a2 <= a2 * b2;
      }
    return static_cast<double>(count) / static_cast<double>(n_ * n_);
  }

  // Written so that offset(n - 1 - i) is exactly -offset(i): a centred shape has an exactly symmetric image.
  double offset(int64_t i) const { return static_cast<double>(2 * i + 1 - n_) / static_cast<double>(2 * n_); }

  double covered(double dx, double dy) const {
    constexpr Point kCorners[] = {{-0.5, -0.5}, {0.5, -0.5}, {0.5, 0.5}, {-0.5, 0.5}};
    constexpr Point kEdges[] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};
    constexpr double kRounding = 1e-11;  // of the sum: so near to it, nothing and all are meant
    const Point center = scaled(turned(dx, dy));
    double area = 0;
    for (int i = 0; i < 4; i++) {
      const Point corner = scaled(turned(kCorners[i].x, kCorners[i].y));
      const Point edge = scaled(turned(kEdges[i].x, kEdges[i].y));
      // cross(corner, edge) is half the area of the pixel, for every edge.
      const double turn = cross(center, edge) + 0.5 / (e_.a * e_.b);
      area += triangle_in_disc({center.x + corner.x, center.y + corner.y}, edge, turn);
    }
    const double share = area * e_.a * e_.b;
    return share < kRounding ? 0 : share > 1 - kRounding ? 1 : share;
  }

  Ellipse e_;
  int64_t n_;
  double cos_, sin_, reach_;
};

// The shadow of an ellipse under one angle: chords of length 2ab/w sqrt(1 - (t/w)^2) for |t| < w.
struct Shadow {
  double w, t0;
  Shadow(const Ellipse& e, double angle)
      : w(std::hypot(e.a * std::cos(angle - e.phi), e.b * std::sin(angle - e.phi))),
        t0(e.x * std::cos(angle) + e.y * std::sin(angle)) {}
};

void add_chords(const Ellipse& e, const Shadow& shadow, double center, const Scan& scan, double* row) {
  const Range range(center + (shadow.t0 - shadow.w) / scan.spacing, center + (shadow.t0 + shadow.w) / scan.spacing,
                    scan.n_detectors);
  const double height = 2 * e.value * (e.a / shadow.w) * e.b;
  for (int64_t d = range.first; d <= range.last; d++) {
    const double q = ((static_cast<double>(d) - center) * scan.spacing - shadow.t0) / shadow.w;
    row[d] += height * std::sqrt(std::max(0.0, 1 - q * q));
  }
}

void add_bin_means(const Ellipse& e, const Shadow& shadow, double center, const Scan& scan, double* row) {
  // Bins that the shadow touches, and one more on either side for the rounding.
  const Range range(center + (shadow.t0 - shadow.w) / scan.spacing - 1.5,
                    center + (shadow.t0 + shadow.w) / scan.spacing + 1.5, scan.n_detectors);
  // Area of the ellipse on the near side of the ray through a bin's edge, in units of ab.
  auto area_before = [&](int64_t d) {
    const double edge = (static_cast<double>(d) - 0.5 - center) * scan.spacing;
    const double q = std::clamp((edge - shadow.t0) / shadow.w, -1.0, 1.0);
    return q * std::sqrt(1 - q * q) + std::asin(q);
  };
  const double scale = e.value * e.a * e.b / scan.spacing;
  double before = area_before(range.first);
  for (int64_t d = range.first; d <= range.last; d++) {
    const double after = area_before(d + 1);
    row[d] += scale * (after - before);
    before = after;
  }
}

}  // namespace

void add_ellipse_sinogram(const std::vector<Ellipse>& ellipses, const Scan& scan, bool bin_average, Poll& poll,
                          double* out) {
  for (int64_t k = 0; k < scan.n_angles; k++, poll())
    for (const Ellipse& e : ellipses) {
      const auto add = bin_average ? add_bin_means : add_chords;
      add(e, Shadow(e, scan.angles[k]), scan.center(0, k), scan, out + k * scan.n_detectors);
    }
}

void add_ellipse_image(const std::vector<Ellipse>& ellipses, int64_t rows, int64_t columns, int supersampling,
                       Poll& poll, double* out) {
  const double row0 = static_cast<double>(rows - 1) / 2, column0 = static_cast<double>(columns - 1) / 2;
  for (const Ellipse& e : ellipses) {
    const PixelShare share(e, supersampling);
    // One more for the pixels, which have a size themselves.
    const double half_height = share.half_height() + 1, half_width = share.half_width() + 1;
    const Range r(row0 - e.y - half_height, row0 - e.y + half_height, rows);
    const Range c(column0 + e.x - half_width, column0 + e.x + half_width, columns);
    for (int64_t i = r.first; i <= r.last; i++, poll())
      for (int64_t j = c.first; j <= c.last; j++)
        out[i * columns + j] += e.value * share(static_cast<double>(j) - column0, row0 - static_cast<double>(i));
  }
}

}  // namespace tomolearn::simulation
