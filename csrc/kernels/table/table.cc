#include "kernels/table/table.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/features.h"
#include "base/memory.h"
#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_TABLE(name, isa, features)                                                         \
  namespace table_##name {                                                                        \
    void lookup(const uint8_t* in, uint8_t* out, int64_t bytes, const uint8_t* table);            \
    void clamp(const uint8_t* in, uint8_t* out, int64_t bytes, uint8_t low, uint8_t high);        \
    void rows(uint8_t* data, int64_t stride, int64_t bytes, int64_t count, const uint8_t* table); \
  }
#include "kernels/table/kernels.inc"
#undef NIWAKI_TABLE

namespace {

struct Rows {
  std::array<TableKernel, 8> rows{};
  std::size_t size = 0;

  // A row that this CPU can't run although it has the row's instruction set is left out.
  Rows() {
#define NIWAKI_TABLE(name, isa, features) \
  if (has_all(cpu_features(), features))  \
    rows[size++] = {#name, isa, table_##name::lookup, table_##name::clamp, table_##name::rows};
#include "kernels/table/kernels.inc"
#undef NIWAKI_TABLE
  }
};

}  // namespace

std::span<const TableKernel> table_kernels() {
  static const Rows rows;
  return {rows.rows.data(), rows.size};
}

namespace {

class TableAfter final : public After {
 public:
  TableAfter(const TableKernel& kernel, const uint8_t* table)
      : kernel_(kernel), name_(std::string("table_") + kernel.name), table_(256) {
    std::copy_n(table, 256, table_.data());
  }
  void run(uint8_t* data, int64_t stride, int64_t bytes, int64_t, int64_t groups) const override {
    kernel_.rows(data, stride, bytes, groups, table_.data());
  }
  const char* kernel() const override { return name_.c_str(); }
  int64_t bytes() const override { return 256; }

 private:
  const TableKernel& kernel_;
  const std::string name_;
  Buffer table_;
};

}  // namespace

std::unique_ptr<After> after_table(const TableKernel& kernel, const uint8_t* table) {
  return std::make_unique<TableAfter>(kernel, table);
}

const TableKernel& select_table(Isa isa) { return select_kernel(table_kernels(), isa); }

void lookup(const TableKernel& kernel, const Planes& in, const Planes& out, const uint8_t* table, ThreadPool& pool) {
  for_each_span(in, in, out, pool,
                [&](const uint8_t* from, const uint8_t*, uint8_t* to, int64_t bytes) { kernel.lookup(from, to, bytes, table); });
}

void clamp(const TableKernel& kernel, const Planes& in, const Planes& out, uint8_t low, uint8_t high, ThreadPool& pool) {
  for_each_span(in, in, out, pool, [&](const uint8_t* from, const uint8_t*, uint8_t* to, int64_t bytes) {
    kernel.clamp(from, to, bytes, low, high);
  });
}

}  // namespace niwaki
