#include "runtime/placement.h"

#include <algorithm>
#include <limits>

namespace niwaki {
namespace {

StepSizes sizes_of(const SizedStep& step, int threads) { return {step.in, step.out, *step.attributes, threads}; }

}  // namespace

Placement::Placement(const Model& model, std::span<const SizedStep> steps, const std::vector<bool>& whole,
                     const std::vector<bool>& kept, int threads)
    : model_(model),
      steps_(steps),
      whole_(whole),
      threads_(threads),
      values_(model.graph().values().size()),
      skipped_(steps.size(), false) {
  for (size_t v = 0; v < values_.size(); ++v) values_[v].host = static_cast<int>(v);
  set_lifetimes();
  place_outside(kept);
  for (size_t k = 0; k < steps_.size(); ++k) place_view(k);
  place_leaving();
  for (size_t k = steps_.size(); k-- > 0;) place_parts(k);
  for (size_t k = 0; k < steps_.size(); ++k) place_over_input(k);
}

std::pair<int, int64_t> Placement::find(int value) const {
  int64_t offset = 0;
  while (at(value).host != value) {
    offset += at(value).offset;
    value = at(value).host;
  }
  return {value, offset};
}

void Placement::set_lifetimes() {
  for (size_t k = 0; k < steps_.size(); ++k) {
    for (const int output : node(k).outputs) at(output).first = at(output).last = static_cast<int>(k);
    for (const int input : node(k).inputs)
      if (input >= 0) at(input).last = static_cast<int>(k);
  }
  const int end = std::numeric_limits<int>::max();
  for (const Port& port : model_.graph().outputs()) at(port.value).leaves = true, at(port.value).last = end;
  for (const State& state : model_.graph().states())
    if (state.next >= 0) at(state.next).leaves = true, at(state.next).last = end;
}

// What comes from outside of the network, and what is there before a run.
void Placement::place_outside(const std::vector<bool>& kept) {
  const Graph& graph = model_.graph();
  for (size_t i = 0; i < graph.inputs().size(); ++i)
    at(graph.inputs()[i].value).outside = {Place::Where::input, static_cast<int>(i)};
  for (size_t i = 0; i < graph.states().size(); ++i)
    at(graph.states()[i].value).outside = {Place::Where::state, static_cast<int>(i)};
  for (size_t k = 0; k < steps_.size(); ++k) {
    const bool constant = node(k).op == Op::constant;
    for (const int output : node(k).outputs)
      if (constant || kept[static_cast<size_t>(output)])
        at(output).outside = {constant ? Place::Where::constant : Place::Where::kept, output};
    skipped_[k] = constant;
  }
}

// Puts `value`, until now in a block of its own, into the block of `host`.
void Placement::attach(int value, int host, int64_t offset) {
  Entry& root = at(find(host).first);
  at(value).host = host;
  at(value).offset = offset;
  root.first = std::min(root.first, at(value).first);
  root.last = std::max(root.last, at(value).last);
}

void Placement::place_view(size_t k) {
  const SizedStep& step = steps_[k];
  if (skipped_[k] || node(k).outputs.size() != 1 || step.in.empty() || !step.in[0].given) return;
  if (step.in[0].grouped() != step.out[0].grouped()) return;
  const int in = node(k).inputs[0], out = node(k).outputs[0];
  // What passes between segments holds all images and a view some of them.
  if (whole_[static_cast<size_t>(in)] || whole_[static_cast<size_t>(out)]) return;
  const auto offset = model_.steps()[k]->view(sizes_of(step, threads_));
  if (!offset) return;
  const auto [root, before] = find(in);
  if (at(out).leaves) {
    // Only where all of the block can lie where the caller wants `out`.
    const bool all = *offset == 0 && before == 0 && bytes_of(step.in[0]) == bytes_of(step.out[0]);
    if (!all || root != in || !made(root) || at(root).leaves || !free(root)) return;
    at(root).leaves = true;
  }
  attach(out, in, *offset);
  skipped_[k] = true;
}

// Each block that leaves the network lies where the first who wants it does; the others get a copy.
void Placement::place_leaving() {
  const Graph& graph = model_.graph();
  const auto claim = [&](int value, Place::Where where, size_t index) {
    Entry& root = at(find(value).first);
    if (root.outside.where == Place::Where::nowhere) root.outside = {where, static_cast<int>(index)};
  };
  for (size_t i = 0; i < graph.outputs().size(); ++i) claim(graph.outputs()[i].value, Place::Where::output, i);
  for (size_t i = 0; i < graph.states().size(); ++i)
    if (graph.states()[i].next >= 0) claim(graph.states()[i].next, Place::Where::next_state, i);
}

void Placement::place_parts(size_t k) {
  if (skipped_[k]) return;
  const SizedStep& step = steps_[k];
  const std::vector<int64_t> places = model_.steps()[k]->places(sizes_of(step, threads_));
  if (places.empty()) return;
  const int out = node(k).outputs[0];
  bool all = true;
  for (size_t i = 0; i < places.size(); ++i) {
    const int in = node(k).inputs[i];
    // Not a view, not in another concatenation, not here already, nobody else's.
    const bool own = free(in) && made(in) && !(whole_[static_cast<size_t>(in)] || whole_[static_cast<size_t>(out)]);
    if (own) attach(in, out, places[i]);
    all = all && own;
  }
  skipped_[k] = all;
}

void Placement::place_over_input(size_t k) {
  if (skipped_[k] || node(k).outputs.empty()) return;
  const SizedStep& step = steps_[k];
  const int out = node(k).outputs[0], now = static_cast<int>(k);
  if (whole_[static_cast<size_t>(out)] || at(out).host != out || at(out).first != now) return;  // its block is needed earlier
  for (size_t i = 0; i < step.in.size(); ++i) {
    const int in = node(k).inputs[i];
    if (in < 0 || !model_.steps()[k]->may_overwrite(i) || !made(in) || !free(in) || at(in).last != now) continue;
    if (whole_[static_cast<size_t>(in)]) continue;
    const Array &from = step.in[i], &to = step.out[0];
    if (from.dtype != to.dtype || from.dims != to.dims || from.grouped() != to.grouped()) continue;
    if (from.grouped() && (from.planes.channels != to.planes.channels || from.planes.images != to.planes.images)) continue;
    const auto shares = [&](size_t other) {
      return other != i && node(k).inputs[other] >= 0 && find(node(k).inputs[other]).first == in;
    };
    bool alone = true;
    for (size_t other = 0; other < step.in.size(); ++other) alone = alone && !shares(other);
    if (!alone) continue;
    at(in).outside = at(out).outside;
    at(in).leaves = at(out).leaves;
    attach(out, in, 0);
    return;
  }
}

}  // namespace niwaki
