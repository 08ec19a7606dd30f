#include "base/arch.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/status.h"

#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__)
#define NIWAKI_X86 1
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(__aarch64__) || defined(_M_ARM64)
#define NIWAKI_ARM64 1
#ifdef __linux__
#include <sys/auxv.h>

#include <fstream>
#endif
#endif
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

namespace niwaki {
namespace {

constexpr Isa kAll[] = {Isa::scalar, Isa::avx2, Isa::avxvnni, Isa::avx512vnni, Isa::neon, Isa::dotprod, Isa::i8mm};

bool is_arm(Isa isa) { return static_cast<int>(isa) >= static_cast<int>(Isa::neon); }

#ifdef NIWAKI_X86
struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// Zeros where the CPU does not have the leaf.
Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
#ifdef _MSC_VER
  int info[4];
  __cpuid(info, static_cast<int>(leaf & 0x80000000u));
  if (static_cast<uint32_t>(info[0]) < leaf) return r;
  __cpuidex(info, static_cast<int>(leaf), static_cast<int>(subleaf));
  std::memcpy(&r, info, sizeof(info));
#else
  if (!__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx)) return Registers{};
#endif
  return r;
}

// Which register files the operating system saves at a task switch. Only defined where CPUID says OSXSAVE.
uint64_t xcr0() {
#ifdef _MSC_VER
  return _xgetbv(0);
#else
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
#endif
}

constexpr bool bit(uint64_t value, int index) { return (value >> index) & 1; }

std::vector<Isa> detect() {
  std::vector<Isa> found = {Isa::scalar};
  const Registers one = cpuid(1, 0);
  const bool osxsave = bit(one.ecx, 27), avx = bit(one.ecx, 28), f16c = bit(one.ecx, 29);
  if (!osxsave || !avx) return found;
  const uint64_t saved = xcr0();
  const bool os_ymm = (saved & 0x06) == 0x06;  // xmm, upper halves of ymm
  const bool os_zmm = (saved & 0xe6) == 0xe6;  // and masks, upper halves of zmm, zmm16 to 31
  const Registers seven = cpuid(7, 0);
  const bool avx2 = os_ymm && f16c && bit(seven.ebx, 5);
  if (!avx2) return found;
  found.push_back(Isa::avx2);
  if (seven.eax >= 1 && bit(cpuid(7, 1).eax, 4)) found.push_back(Isa::avxvnni);
  const bool f = bit(seven.ebx, 16), dq = bit(seven.ebx, 17), bw = bit(seven.ebx, 30), vl = bit(seven.ebx, 31);
  if (os_zmm && f && dq && bw && vl && bit(seven.ecx, 11)) found.push_back(Isa::avx512vnni);
  return found;
}
#elif defined(NIWAKI_ARM64)
#ifdef __APPLE__
bool has(const char* feature) {
  int value = 0;
  size_t size = sizeof(value);
  return sysctlbyname(feature, &value, &size, nullptr, 0) == 0 && value != 0;
}
#endif

std::vector<Isa> detect() {
  std::vector<Isa> found = {Isa::scalar, Isa::neon};  // 64-bit Arm always has NEON
  bool dotprod = false, i8mm = false;
#ifdef __APPLE__
  dotprod = has("hw.optional.arm.FEAT_DotProd");
  i8mm = has("hw.optional.arm.FEAT_I8MM");
#elif defined(__linux__)
  // The bits of the kernel's hwcap.h, spelt out because old headers lack the names.
  dotprod = (getauxval(AT_HWCAP) >> 20) & 1;
  i8mm = (getauxval(AT_HWCAP2) >> 13) & 1;
#endif
  if (dotprod) found.push_back(Isa::dotprod);
  if (dotprod && i8mm) found.push_back(Isa::i8mm);
  return found;
}
#else
std::vector<Isa> detect() { return {Isa::scalar}; }
#endif

std::string names(const std::vector<Isa>& isas) {
  std::string text;
  for (Isa isa : isas) text += (text.empty() ? "" : ", ") + std::string(isa_name(isa));
  return text;
}

// `source` is what the message blames: an argument or the environment variable.
Isa parse(const std::string& name, const char* source) {
  for (Isa isa : supported_isas())
    if (name == isa_name(isa)) return isa;
  bool known = false;
  for (Isa isa : kAll) known = known || name == isa_name(isa);
  throw Error(Status::invalid_argument,
              std::string(source) + ": " +
                  (known ? "this machine cannot run the instruction set '" : "unknown instruction set '") + name +
                  "'; this machine supports " + names(supported_isas()) + ".");
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::scalar: return "scalar";
    case Isa::avx2: return "avx2";
    case Isa::avxvnni: return "avxvnni";
    case Isa::avx512vnni: return "avx512vnni";
    case Isa::neon: return "neon";
    case Isa::dotprod: return "dotprod";
    case Isa::i8mm: return "i8mm";
  }
  return "unknown";
}

const std::vector<Isa>& supported_isas() {
  // Never destroyed: threads may ask while the process exits.
  static const std::vector<Isa>& isas = *new std::vector<Isa>(detect());
  return isas;
}

Isa current_isa() {
  const char* forced = std::getenv("NIWAKI_ISA");
  if (forced == nullptr || *forced == '\0') return supported_isas().back();
  return parse(forced, "NIWAKI_ISA");
}

Isa parse_isa(const std::string& name) { return parse(name, "isa"); }

bool isa_includes(Isa in_force, Isa kernel) {
  if (kernel == Isa::scalar || kernel == in_force) return true;
  if (in_force == Isa::scalar || is_arm(in_force) != is_arm(kernel)) return false;
  if (kernel == Isa::avxvnni) return false;  // Zen 4 and Ice Lake have AVX512-VNNI without it
  return static_cast<int>(kernel) < static_cast<int>(in_force);
}

std::string cpu_name() {
  std::string name;
#if defined(NIWAKI_X86)
  if (cpuid(0x80000000u, 0).eax >= 0x80000004u) {
    char brand[49] = {};
    for (uint32_t part = 0; part < 3; ++part) {
      const Registers r = cpuid(0x80000002u + part, 0);
      std::memcpy(brand + 16 * part, &r, sizeof(r));
    }
    name = brand;
  }
#elif defined(__APPLE__)
  char brand[128] = {};
  size_t size = sizeof(brand) - 1;
  if (sysctlbyname("machdep.cpu.brand_string", brand, &size, nullptr, 0) == 0) name = brand;
#elif defined(NIWAKI_ARM64) && defined(__linux__)
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0 && line.find(':') != std::string::npos) {
      name = line.substr(line.find(':') + 1);
      break;
    }
  }
#endif
  const auto first = name.find_first_not_of(" \t");
  if (first != std::string::npos) return name.substr(first, name.find_last_not_of(" \t") - first + 1);
#if defined(NIWAKI_X86)
  return "x86-64";
#elif defined(NIWAKI_ARM64)
  return "aarch64";
#else
  return "unknown";
#endif
}

}  // namespace niwaki
