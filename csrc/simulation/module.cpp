#include <pybind11/pybind11.h>
PYBIND11_MODULE(_simulation, m) { m.doc() = "Exact projections of simple bodies."; }
