// Work that other Python threads need not wait for.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#if defined(__GLIBCXX__) && defined(__linux__)
#define NIWAKI_FORCED_UNWIND 1
#include <cxxabi.h>
#include <unistd.h>
#endif

namespace niwaki::python {

// Takes the interpreter lock back. A daemon thread that comes for it while the interpreter ends is ended by CPython before 3.14 on the
// spot, by unwinding its stack: through a destructor, as that of gil_scoped_release, that ends the whole process with an error, and the
// destructors on its way would touch Python objects without the lock. Such a thread waits here for the end instead, as it does from
// CPython 3.14 on.
inline void take_gil_back(PyThreadState* state) {
#ifdef NIWAKI_FORCED_UNWIND
  try {
    PyEval_RestoreThread(state);
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
#else
  PyEval_RestoreThread(state);
#endif
}

// Calls `work`, which touches nothing of Python's, with the interpreter lock released; returns or throws what it does.
template <typename Work>
auto without_gil(const Work& work) {
  using Result = std::invoke_result_t<Work>;
  std::exception_ptr error;
  PyThreadState* const state = PyEval_SaveThread();
  if constexpr (std::is_void_v<Result>) {
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
    take_gil_back(state);
    if (error) std::rethrow_exception(error);
  } else {
    std::optional<Result> result;
    try {
      result.emplace(work());
    } catch (...) {
      error = std::current_exception();
    }
    take_gil_back(state);
    if (error) std::rethrow_exception(error);
    return std::move(*result);
  }
}

}  // namespace niwaki::python
