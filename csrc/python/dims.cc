#include "dims.h"

#include <pybind11/operators.h>
#include <pybind11/stl.h>

#include <functional>
#include <utility>

namespace niwaki::python {
namespace {

NamedDim named(const py::handle& value) {
  if (py::isinstance<NamedDim>(value)) return py::cast<NamedDim>(value);
  return {to_dim(value), nullptr};
}

// function of this dim and another, which may be an int on either side. The names of a graph grow, so the longer list has the shorter's.
template <typename Function>
NamedDim combined(const NamedDim& a, const NamedDim& b, const Function& function) {
  const bool from_b = a.names == nullptr || (b.names != nullptr && b.names->size() > a.names->size());
  return {function(a.dim, b.dim), from_b ? b.names : a.names};
}

template <typename Class, typename Function>
void define_operator(Class& dim, const char* name, const char* reflected, Function function) {
  dim.def(name, [function](const NamedDim& self, const py::object& other) -> py::object {
    if (!is_size(other)) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
    return py::cast(combined(self, named(other), function));
  });
  dim.def(reflected, [function](const NamedDim& self, const py::object& other) -> py::object {
    if (!is_size(other)) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
    return py::cast(combined(named(other), self, function));
  });
}

}  // namespace

std::string NamedDim::text() const {
  static const std::vector<std::string> none;
  return dim.text(names ? *names : none);
}

bool is_size(const py::handle& value) { return py::isinstance<NamedDim>(value) || PyIndex_Check(value.ptr()) != 0; }

Dim to_dim(const py::handle& value) {
  if (py::isinstance<NamedDim>(value)) return py::cast<const NamedDim&>(value).dim;
  if (PyIndex_Check(value.ptr()) == 0)
    throw py::type_error("a size must be an integer or a Dim, not " + py::cast<std::string>(py::str(py::type::of(value))) + ".");
  return {py::cast<int64_t>(py::int_(py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()))))};
}

py::object from_dim(const Dim& dim, const std::vector<std::string>& names) {
  if (dim.is_constant()) return py::int_(dim.value());
  if (dim.is_unknown()) return py::none();
  return py::str(dim.text(names));
}

py::object tree_of(const Dim& dim) {
  const auto operation = [&](const char* sign) -> py::object {
    return py::make_tuple(sign, tree_of(dim.left()), tree_of(dim.right()));
  };
  switch (dim.kind()) {
    case Dim::Kind::constant: return py::int_(dim.value());
    case Dim::Kind::size: return py::make_tuple("size", dim.value());
    case Dim::Kind::add: return operation("+");
    case Dim::Kind::sub: return operation("-");
    case Dim::Kind::mul: return operation("*");
    case Dim::Kind::floor_div: return operation("//");
    case Dim::Kind::mod: return operation("%");
    case Dim::Kind::min: return operation("min");
    case Dim::Kind::max: return operation("max");
    case Dim::Kind::unknown: break;
  }
  return py::none();
}

void define_dims(py::module_& module) {
  py::class_<NamedDim> dim(module, "Dim", "A size as an expression of the free sizes of a graph's inputs.");
  define_operator(dim, "__add__", "__radd__", [](const Dim& a, const Dim& b) { return a + b; });
  define_operator(dim, "__sub__", "__rsub__", [](const Dim& a, const Dim& b) { return a - b; });
  define_operator(dim, "__mul__", "__rmul__", [](const Dim& a, const Dim& b) { return a * b; });
  define_operator(dim, "__floordiv__", "__rfloordiv__", [](const Dim& a, const Dim& b) { return floor_div(a, b); });
  define_operator(dim, "__mod__", "__rmod__", [](const Dim& a, const Dim& b) { return mod(a, b); });
  dim.def("__neg__", [](const NamedDim& self) { return NamedDim{Dim(0) - self.dim, self.names}; });
  dim.def_static("max", [](const py::object& a, const py::object& b) {
    return combined(named(a), named(b), [](const Dim& x, const Dim& y) { return max(x, y); });
  });
  dim.def_static("min", [](const py::object& a, const py::object& b) {
    return combined(named(a), named(b), [](const Dim& x, const Dim& y) { return min(x, y); });
  });
  dim.def("__eq__", [](const NamedDim& self, const py::object& other) -> py::object {
    if (!is_size(other)) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
    return py::bool_(self.dim == to_dim(other));
  });
  dim.def("__hash__", [](const NamedDim& self) {
    return self.dim.is_constant() ? py::hash(py::int_(self.dim.value())) : py::hash(py::str(self.text()));
  });
  dim.def("__str__", &NamedDim::text);
  dim.def("__repr__", [](const NamedDim& self) { return "Dim(" + self.text() + ")"; });
  dim.def_property_readonly("constant", [](const NamedDim& self) -> std::optional<int64_t> {
    return self.dim.is_constant() ? std::optional(self.dim.value()) : std::nullopt;
  });
}

}  // namespace niwaki::python
