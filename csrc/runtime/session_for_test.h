// Runs sessions on arrays of numbers, for tests.
#pragma once

#include <cstring>
#include <limits>
#include <vector>

#include "graph/test_tools.h"
#include "runtime/interpreter_for_test.h"
#include "runtime/session.h"

namespace niwaki::testing {

template <typename T>
std::vector<uint8_t> bytes_of(const Values& values) {
  std::vector<uint8_t> bytes(values.data.size() * sizeof(T));
  for (size_t i = 0; i < values.data.size(); ++i) {
    const T value = static_cast<T>(values.data[i]);
    std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
  }
  return bytes;
}

template <typename T>
void set_from(Values& values, const std::vector<uint8_t>& bytes) {
  for (size_t i = 0; i < values.data.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values.data[i] = static_cast<double>(value);
  }
}

inline std::vector<uint8_t> bytes_of(const Values& values, DType type) {
  return type == DType::f32   ? bytes_of<float>(values)
         : type == DType::i64 ? bytes_of<int64_t>(values)
                              : bytes_of<uint8_t>(values);
}

inline std::vector<Values> run(Session& session, const std::vector<Values>& inputs) {
  const Graph& graph = session.model().graph();
  std::vector<std::vector<uint8_t>> sources, targets;
  std::vector<Session::Input> given;
  std::vector<Sizes> sizes;
  for (size_t i = 0; i < inputs.size(); ++i) {
    sizes.push_back(inputs[i].shape);
    const bool known = i < graph.inputs().size();
    sources.push_back(bytes_of(inputs[i], known ? graph.value(graph.inputs()[i].value).dtype : DType::f32));
  }
  for (size_t i = 0; i < inputs.size(); ++i) given.push_back({sources[i].data(), sizes[i]});
  std::vector<Values> outputs;
  std::vector<void*> addresses;
  for (const Sizes& shape : session.output_shapes(sizes))
    outputs.push_back({shape, std::vector<double>(static_cast<size_t>(elements_of(shape)))});
  for (size_t i = 0; i < outputs.size(); ++i) {
    const DType type = graph.value(graph.outputs()[i].value).dtype;
    targets.emplace_back(outputs[i].data.size() * static_cast<size_t>(dtype_bytes(type)),
                         uint8_t{0xff});  // what is not written shows: NaN
  }
  for (auto& target : targets) addresses.push_back(target.data());
  session.run(given, addresses);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const DType type = graph.value(graph.outputs()[i].value).dtype;
    if (type == DType::f32) set_from<float>(outputs[i], targets[i]);
    else if (type == DType::i64) set_from<int64_t>(outputs[i], targets[i]);
    else set_from<uint8_t>(outputs[i], targets[i]);
  }
  return outputs;
}

}  // namespace niwaki::testing
