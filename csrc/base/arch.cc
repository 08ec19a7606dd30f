#include "base/arch.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/features.h"
#include "base/status.h"

#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__)
#define NIWAKI_X86 1
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#ifdef __linux__
#include <unistd.h>
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

struct Set {
  Isa isa;
  const char* name;
  Features features;
};

// The better ones of a family come later.
constexpr Set kSets[] = {
    {Isa::scalar, "scalar", 0},
    {Isa::avx2, "avx2", feature::avx2},
    {Isa::avxvnni, "avxvnni", feature::avx2 | feature::avx_vnni},
    {Isa::avx512vnni, "avx512vnni", feature::avx2 | feature::avx512 | feature::avx512_vnni},
    {Isa::amx, "amx", feature::avx2 | feature::avx512 | feature::avx512_vnni | feature::amx},
    {Isa::neon, "neon", feature::neon},
    {Isa::dotprod, "dotprod", feature::neon | feature::dotprod},
    {Isa::i8mm, "i8mm", feature::neon | feature::dotprod | feature::i8mm},
};

const Set& set_of(Isa isa) {
  for (const Set& set : kSets)
    if (set.isa == isa) return set;
  return kSets[0];
}

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

// Tiles are eight KiB of registers, which Linux saves only for a process that has asked for them; a sandbox may refuse. Other systems are
// not asked.
bool may_use_tiles() {
#if defined(__linux__) && defined(__x86_64__)
  constexpr long kArchPrctl = 158, kRequestPermission = 0x1023, kTileData = 18;  // spelt out because old headers lack the names
  return syscall(kArchPrctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

constexpr bool bit(uint64_t value, int index) { return (value >> index) & 1; }

Features detect() {
  const Registers one = cpuid(1, 0);
  const bool osxsave = bit(one.ecx, 27), avx = bit(one.ecx, 28), f16c = bit(one.ecx, 29), fma = bit(one.ecx, 12);
  if (!osxsave || !avx) return 0;
  const uint64_t saved = xcr0();
  const bool os_ymm = (saved & 0x06) == 0x06;  // xmm, upper halves of ymm
  const bool os_zmm = (saved & 0xe6) == 0xe6;  // and masks, upper halves of zmm, zmm16 to 31
  const Registers seven = cpuid(7, 0);
  Features found = 0;
  if (!os_ymm) return found;
  if (fma && f16c && bit(seven.ebx, 5)) found |= feature::avx2;
  if (seven.eax >= 1 && bit(cpuid(7, 1).eax, 4)) found |= feature::avx_vnni;
  const bool f = bit(seven.ebx, 16), dq = bit(seven.ebx, 17), bw = bit(seven.ebx, 30), vl = bit(seven.ebx, 31);
  if (!os_zmm || !f || !dq || !bw || !vl) return found;
  found |= feature::avx512;
  if (bit(seven.ecx, 11)) found |= feature::avx512_vnni;
  if (bit(seven.ecx, 1)) found |= feature::avx512_vbmi;
  const bool os_tiles = (saved & 0x60000) == 0x60000;  // their shapes, and what they hold
  if (os_tiles && bit(seven.edx, 24) && bit(seven.edx, 25) && may_use_tiles()) found |= feature::amx;
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

Features detect() {
  Features found = feature::neon;  // 64-bit Arm always has it
#ifdef __APPLE__
  if (has("hw.optional.arm.FEAT_DotProd")) found |= feature::dotprod;
  if (has("hw.optional.arm.FEAT_I8MM")) found |= feature::i8mm;
#elif defined(__linux__)
  // The bits of the kernel's hwcap.h, spelt out because old headers lack the names.
  if ((getauxval(AT_HWCAP) >> 20) & 1) found |= feature::dotprod;
  if ((getauxval(AT_HWCAP2) >> 13) & 1) found |= feature::i8mm;
#endif
  return found;
}
#else
Features detect() { return 0; }
#endif

std::vector<Isa> runnable_sets() {
  std::vector<Isa> found;
  for (const Set& set : kSets)
    if (has_all(cpu_features(), set.features)) found.push_back(set.isa);
  return found;
}

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
  for (const Set& set : kSets) known = known || name == set.name;
  throw Error(Status::invalid_argument,
              std::string(source) + ": " +
                  (known ? "this machine cannot run the instruction set '" : "unknown instruction set '") + name +
                  "'; this machine supports " + names(supported_isas()) + ".");
}

}  // namespace

Features cpu_features() {
  static const Features found = detect();
  return found;
}

Features features_of(Isa isa) { return set_of(isa).features; }

const char* isa_name(Isa isa) { return set_of(isa).name; }

const std::vector<Isa>& supported_isas() {
  // Never destroyed: threads may ask while the process exits.
  static const std::vector<Isa>& isas = *new std::vector<Isa>(runnable_sets());
  return isas;
}

Isa current_isa() {
  const char* forced = std::getenv("NIWAKI_ISA");
  if (forced == nullptr || *forced == '\0') return supported_isas().back();
  return parse(forced, "NIWAKI_ISA");
}

Isa parse_isa(const std::string& name) { return parse(name, "isa"); }

bool isa_includes(Isa in_force, Isa kernel) { return has_all(features_of(in_force), features_of(kernel)); }

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
