// The projector kernels; compiled once for each SIMD level (setup.py), each into a namespace of its own.
#include "kernels/backproject_packed.h"
#include "kernels/backproject_single.h"
#include "kernels/project_packed.h"
#include "kernels/project_single.h"
#include "projector.h"

namespace tomolearn::TOMOLEARN_LEVEL {

extern const Projector table;
const Projector table = {
    project_packed<float, 4>,       project_packed<float, 16>,     project_packed<float, 32>,
    backproject_packed<float, 4>,   backproject_packed<float, 16>, backproject_packed<float, 32>,
    project_packed<double, 4>,      project_packed<double, 16>,
    backproject_packed<double, 4>,  backproject_packed<double, 16>,
#if TOMO_VECTOR_BYTES >= 32
    project_single,                 backproject_single,
#else
    nullptr,                        nullptr,
#endif
};

}  // namespace tomolearn::TOMOLEARN_LEVEL
