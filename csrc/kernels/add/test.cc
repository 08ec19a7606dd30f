#include "kernels/add/add.h"

#include "kernels/common/test_planes.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

const AddParams kParams[] = {
    {0.5f, 0.5f, 0, 0, 0, 0, 255},            // halves: ties everywhere
    {0.73f, 1.31f, 128, 3, 77, 0, 255},       //
    {1.0f, 1.0f, 255, 255, 255, 0, 255},      //
    {2.5f, 0.001f, 0, 255, 128, 128, 255},    // a ReLU
    {0.25f, 0.25f, 10, 20, 30, 30, 90},       // a ReLU6
    {1.0e35f, 1.0e35f, 100, 100, 9, 0, 255},  // sums that no int32 holds
    {1.0e-30f, 0.0f, 0, 0, 200, 0, 199},      // zero above high
};

float sum_of(float a, float b) { return a + b; }
float larger_of(float a, float b) { return std::max(a, b); }
float smaller_of(float a, float b) { return std::min(a, b); }

// A function of the kernels, and what it computes.
struct Function {
  AddFunction AddKernel::* of;
  float (*joined)(float, float);
};
constexpr Function kFunctions[] = {
    {&AddKernel::run, sum_of}, {&AddKernel::maximum, larger_of}, {&AddKernel::minimum, smaller_of}};

uint8_t naive(const Function& function, uint8_t a, uint8_t b, const AddParams& p) {
  const volatile float left = static_cast<float>(a - p.a_zero) * p.a_scale;
  const volatile float right = static_cast<float>(b - p.b_zero) * p.b_scale;
  const volatile float joined = function.joined(left, right);
  return naive_finish(joined, p.out_zero, p.low, p.high);
}

TEST(add_selection) { check_selection(add_kernels(), select_add); }

TEST(add_every_pair_of_bytes) {
  Buffer a(65536), b(65536), out(65536 + 64);
  for (std::size_t i = 0; i < 65536; ++i) a.data()[i] = static_cast<uint8_t>(i), b.data()[i] = static_cast<uint8_t>(i / 256);
  for (const AddKernel* kernel : runnable(add_kernels())) {
    for (const Function& function : kFunctions) {
      for (const AddParams& params : kParams) {
        std::memset(out.data(), 0xa5, out.size());
        (kernel->*function.of)(a.data(), b.data(), out.data(), 65536, params);
        for (std::size_t i = 0; i < 65536; ++i) CHECK_EQ(out.data()[i], naive(function, a.data()[i], b.data()[i], params));
        for (std::size_t i = 65536; i < out.size(); ++i) CHECK_EQ(out.data()[i], 0xa5);
      }
    }
  }
}

TEST(add_of_planes_with_threads_and_in_place) {
  Random random(1);
  const int32_t shapes[][4] = {{1, 1, 1, 1}, {2, 5, 3, 3}, {1, 64, 13, 7}, {3, 33, 30, 31}, {0, 8, 4, 4}, {1, 4, 0, 5}};
  for (const AddKernel* kernel : runnable(add_kernels())) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const auto& s : shapes) {
        Activation a(s[0], s[1], s[2], s[3]), b(s[0], s[1], s[2], s[3]), out(s[0], s[1], s[2], s[3]),
            wanted(s[0], s[1], s[2], s[3]);
        a.randomize(random);
        b.randomize(random, true);
        wanted.each([&](int64_t n, int64_t c, int64_t y, int64_t x) {
          wanted.at(n, c, y, x) = naive(kFunctions[0], a.at(n, c, y, x), b.at(n, c, y, x), kParams[1]);
        });
        add(kernel->run, a.planes, b.planes, out.planes, kParams[1], pool);
        check_same(out, wanted, kernel->name);
        add(kernel->run, a.planes, b.planes, b.planes, kParams[1], pool);
        check_same(b, wanted, std::string(kernel->name) + " into b");
      }
    }
  }
}

}  // namespace
