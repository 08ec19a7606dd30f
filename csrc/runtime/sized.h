// A network's values and steps when the sizes of its inputs are known.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "graph/shapes.h"
#include "runtime/model.h"
#include "runtime/step.h"

namespace niwaki {

// Of each value, whether it follows from the inputs and states: constants, and what is computed from them, do not.
std::vector<bool> follows_inputs(const Graph& graph);

// A network's shapes: of all images of its inputs or, where each image goes through the network by itself, of any number of them.
class Shapes {
 public:
  // Throws Error where the network does not take inputs of these sizes. inferred: what infer_shapes gives for them, where it is known.
  Shapes(const Graph& graph, std::vector<Sizes> inputs, std::shared_ptr<const Inferred> inferred = nullptr);

  // How many images go through the network one by one: axis 0 of all values that are batched. 1 for a network that only runs as a whole.
  int64_t images() const { return images_; }

  // The shapes for so many images; throws Error where the network does not take just as many.
  const Inferred& of(int64_t images);
  const Inferred& all() { return of(images_); }

  // Of each value, whether its axis 0 are the images; where there is one alone, nothing is said.
  const std::vector<bool>& batched() const { return batched_; }

  // The same sizes, taken as a whole.
  Shapes whole() const;

 private:
  int64_t count_images(const Inferred& inferred);
  bool scales(const Inferred& inferred, int64_t images) const;

  const Graph* graph_;
  std::vector<Sizes> inputs_;
  std::vector<bool> batched_;  // of each value: has images
  int64_t images_ = 1;
  std::map<int64_t, std::shared_ptr<const Inferred>> known_;
};

// A step's inputs and outputs, and its attributes; data is null.
struct SizedStep {
  std::vector<Array> in, out;
  const Attributes* attributes = nullptr;
};

Array size_value(const Model& model, int value, const Inferred& inferred);
SizedStep size_step(const Model& model, size_t step, const Inferred& inferred);  // keeps pointers into `inferred`

// Bytes that a value takes, groups with what lies between them.
int64_t bytes_of(const Array& array);

}  // namespace niwaki
