// Candidate points are scattered over the cylinder; the one that allows the largest ball gets one, the others near it
// allow less from then on, and those left with no room are drawn anew. This is the construction of D. M. Pelt, A. A.
// Hendriksen and K. J. Batenburg, "Foam-like phantoms for comparing tomography algorithms",
// doi:10.1107/S1600577521011322.
//
// No other candidate allows more than the ball just placed, of radius r, so only those within 2 r of its centre can be
// touched by it. The volumes of all these neighbourhoods together are 8 times that of the balls, which fit the
// cylinder: the work is proportional to the number of candidates, whatever the number of balls and their sizes.
#include "packing.h"

#include <numbers>
#include <queue>

#include "random.h"

namespace tomolearn::simulation {
namespace {

struct Point {
  double x, y, z;
};

double distance2(const Point& p, const Point& q) {
  const double dx = p.x - q.x, dy = p.y - q.y, dz = p.z - q.z;
  return dx * dx + dy * dy + dz * dz;
}

// Distance from the point to the surface of the ball, negative inside.
double gap(const Ball& ball, const Point& p) { return std::sqrt(distance2({ball.x, ball.y, ball.z}, p)) - ball.r; }

// The smaller of a positive limit and the gap; takes no root where the limit is the smaller one, as it mostly is.
double limited_gap(double limit, const Ball& ball, const Point& p) {
  const double beyond = limit + ball.r;
  return distance2({ball.x, ball.y, ball.z}, p) >= beyond * beyond ? limit : std::min(limit, gap(ball, p));
}

// Cubic cells over the box around the cylinder, at most `most` of them.
class Grid {
 public:
  Grid(const Cylinder& cylinder, double most)
      : half_{cylinder.radius, cylinder.radius, cylinder.height / 2}, edge_(2 * std::max(half_[0], half_[2])) {
    // Steps rather than a cube root: roots differ between platforms in the last digit, and the packing would with them.
    while (count(0.95 * edge_) <= most) edge_ *= 0.95;
    for (int axis = 0; axis < 3; axis++) n_[axis] = static_cast<int64_t>(count_along(axis, edge_));
  }

  int64_t size() const { return n_[0] * n_[1] * n_[2]; }
  double reach() const { return edge_ * std::numbers::sqrt3 / 2; }  // from the centre of a cell to its corners
  int64_t cell(const Point& p) const { return flat(index(p.x, 0), index(p.y, 1), index(p.z, 2)); }

  // f(cell, its centre) for the cells that may have their centre within `radius` of p.
  template <class F>
  void for_cells_near(const Point& p, double radius, const F& f) const {
    for (int64_t k = index(p.z - radius, 2); k <= index(p.z + radius, 2); k++)
      for (int64_t j = index(p.y - radius, 1); j <= index(p.y + radius, 1); j++) {
        const double dy = middle(j, 1) - p.y, dz = middle(k, 2) - p.z, rest = radius * radius - dy * dy - dz * dz;
        if (rest < 0) continue;
        const double half = std::sqrt(rest);
        for (int64_t i = index(p.x - half, 0); i <= index(p.x + half, 0); i++)
          f(flat(i, j, k), Point{middle(i, 0), middle(j, 1), middle(k, 2)});
      }
  }

 private:
  double count_along(int axis, double edge) const { return std::ceil(2 * half_[axis] / edge); }
  double count(double edge) const { return count_along(0, edge) * count_along(1, edge) * count_along(2, edge); }

  int64_t index(double v, int axis) const {
    return static_cast<int64_t>(std::clamp((v + half_[axis]) / edge_, 0.0, static_cast<double>(n_[axis]) - 0.5));
  }

  double middle(int64_t i, int axis) const { return (static_cast<double>(i) + 0.5) * edge_ - half_[axis]; }
  int64_t flat(int64_t i, int64_t j, int64_t k) const { return (k * n_[1] + j) * n_[0] + i; }

  double half_[3], edge_;
  int64_t n_[3];
};

class Packing {
 public:
  Packing(double min_radius, double max_radius, const Cylinder& cylinder, int64_t n_candidates, uint64_t seed)
      : min_radius_(min_radius),
        max_radius_(max_radius),
        cylinder_(cylinder),
        random_(seed),
        grid_(cylinder, static_cast<double>(n_candidates) / kCandidatesPerCell + 64),
        cells_(grid_.size()),
        candidates_(n_candidates) {
    const double everything = 2 * cylinder.radius + cylinder.height;
    grid_.for_cells_near({0, 0, 0}, everything, [&](int64_t i, const Point& middle) { cells_[i].room = room(middle); });
    bound_rooms(max_radius);
    for (int32_t id = 0; id < static_cast<int32_t>(n_candidates); id++) renew(id);
  }

  // Places the next ball where the largest fits; false where none fits any more.
  bool place() {
    while (!queue_.empty()) {
      const Entry top = queue_.top();
      queue_.pop();
      const Candidate& c = candidates_[top.id];
      if (top.generation != c.generation) continue;
      if (top.allowed == c.allowed) {
        insert({c.at.x, c.at.y, c.at.z, c.allowed});
        return true;
      }
      queue_.push({c.allowed, top.id, c.generation});  // room was lost since the entry was made
    }
    return false;
  }

  std::vector<Ball> balls;

 private:
  static constexpr double kCandidatesPerCell = 4;
  static constexpr int kDraws = 20;  // before a candidate is given up: the cylinder is nearly full then

  struct Candidate {
    Point at;
    double allowed;          // radius of the largest ball that fits around the point
    int32_t generation = 0;  // counts the renewals, so that queue entries of earlier ones are known as such
  };

  struct Entry {
    double allowed;
    int32_t id, generation;
    // Ties go to the lower id, so that the order does not hang on how the standard library keeps its heap.
    bool operator<(const Entry& other) const {
      return allowed != other.allowed ? allowed < other.allowed : id > other.id;
    }
  };

  struct Cell {
    double room;                      // radius that the balls and walls allow around the cell's centre
    std::vector<int32_t> near;        // balls that may be the nearest one to some point of the cell
    std::vector<int32_t> candidates;  // that lie in the cell
  };

  // Radius that walls and max_radius_ allow around the point.
  double room(const Point& p) const {
    const double to_mantle = cylinder_.radius - std::sqrt(p.x * p.x + p.y * p.y);
    return std::min({max_radius_, to_mantle, cylinder_.height / 2 - std::abs(p.z)});
  }

  // Draws the candidate anew, evenly over the points that leave room for a ball of min_radius_.
  void renew(int32_t id) {
    Candidate& c = candidates_[id];
    c.generation++;
    const double radius = cylinder_.radius - min_radius_, half_height = cylinder_.height / 2 - min_radius_;
    for (int draw = 0; draw < kDraws; draw++) {
      do {
        c.at.x = random_.uniform_about_zero(radius);
        c.at.y = random_.uniform_about_zero(radius);
      } while (c.at.x * c.at.x + c.at.y * c.at.y > radius * radius);
      c.at.z = random_.uniform_about_zero(half_height);
      c.allowed = room(c.at);
      Cell& cell = cells_[grid_.cell(c.at)];
      for (size_t i = 0; i < cell.near.size() && c.allowed >= min_radius_; i++)
        c.allowed = limited_gap(c.allowed, balls[cell.near[i]], c.at);
      if (c.allowed < min_radius_) continue;
      queue_.push({c.allowed, id, c.generation});
      cell.candidates.push_back(id);
      return;
    }
  }

  void insert(const Ball& ball) {
    const Point center{ball.x, ball.y, ball.z};
    const auto number = static_cast<int32_t>(balls.size());
    balls.push_back(ball);
    if (ball.r < 0.9 * room_bound_at_) bound_rooms(ball.r);
    lost_.clear();
    const double listed = ball.r + room_bound_ + 2 * grid_.reach(), narrowed = 2 * ball.r + grid_.reach();
    grid_.for_cells_near(center, std::max(listed, narrowed), [&](int64_t i, const Point& middle) {
      note(cells_[i], middle, number);
      if (distance2(center, middle) <= narrowed * narrowed) narrow(cells_[i], ball);
    });
    for (const int32_t id : lost_) renew(id);
  }

  // Lists the new ball in a cell if it can be the nearest to any of its points. Room changes by no more than the
  // distance between two points: what lies more than two reaches beyond the room of the centre is nearest to none.
  void note(Cell& cell, const Point& middle, int32_t number) {
    const double to_new = gap(balls[number], middle), slack = 2 * grid_.reach();
    if (to_new > cell.room + slack) return;
    cell.near.push_back(number);
    if (to_new >= cell.room) return;
    cell.room = to_new;
    std::erase_if(cell.near, [&](int32_t i) { return gap(balls[i], middle) > cell.room + slack; });
  }

  // Takes the room that the ball needs from the candidates of a cell.
  void narrow(Cell& cell, const Ball& ball) {
    std::erase_if(cell.candidates, [&](int32_t id) {
      Candidate& c = candidates_[id];
      c.allowed = limited_gap(c.allowed, ball, c.at);
      if (c.allowed < min_radius_) lost_.push_back(id);
      return c.allowed < min_radius_;
    });
  }

  // Rooms only shrink, so a bound on them stays one; it is taken anew as the balls become smaller.
  void bound_rooms(double radius) {
    room_bound_at_ = radius;
    room_bound_ = 0;
    for (const Cell& cell : cells_) room_bound_ = std::max(room_bound_, cell.room);
  }

  double min_radius_, max_radius_;
  Cylinder cylinder_;
  Random random_;
  Grid grid_;
  std::vector<Cell> cells_;
  double room_bound_, room_bound_at_;
  std::vector<Candidate> candidates_;
  std::priority_queue<Entry> queue_;
  std::vector<int32_t> lost_;
};

}  // namespace

std::vector<Ball> pack_balls(int64_t n, double min_radius, double max_radius, const Cylinder& cylinder,
                             int64_t n_candidates, uint64_t seed, Poll& poll) {
  Packing packing(min_radius, max_radius, cylinder, n_candidates, seed);
  while (static_cast<int64_t>(packing.balls.size()) < n && packing.place()) poll();
  return std::move(packing.balls);
}

}  // namespace tomolearn::simulation
