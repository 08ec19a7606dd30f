#include "graph/operators.h"

#include "graph/operators/rules.h"

namespace niwaki {

std::string text_of(TypeSet set) {
  std::string text;
  for (const DType dtype : kDTypes)
    if (contains(set, dtype)) text += (text.empty() ? "" : " or ") + std::string(dtype_name(dtype));
  return text;
}

const std::vector<OperatorRule>& operator_rules() {
  const auto named = [](Op op, const char* name, OperatorRule rule) {
    rule.op = op;
    rule.name = name;
    return rule;
  };
  // Never destroyed: other threads may read networks while the process exits.
  static const std::vector<OperatorRule>& all = *new std::vector<OperatorRule>{
#define NIWAKI_OPERATOR(name) named(Op::name, #name, rules::name()),
#include "graph/operators.inc"
#undef NIWAKI_OPERATOR
  };
  return all;
}

const OperatorRule& operator_rule(Op op) { return operator_rules()[static_cast<size_t>(op)]; }

const OperatorRule* find_operator(const std::string& name) {
  for (const OperatorRule& rule : operator_rules())
    if (name == rule.name) return &rule;
  return nullptr;
}

std::string describe(const Node& node) { return node.name + " (" + op_name(node.op) + ")"; }

void refuse(const Node& node, const std::string& what) { throw Error(Status::invalid_argument, describe(node) + ": " + what); }

bool is_depthwise(const Node& conv) {
  if (conv.op != Op::conv2d) return false;
  const auto& shape = conv.tensor("weight").shape();
  return shape[1] == 1 && conv.integer("groups") == shape[0];
}

}  // namespace niwaki
