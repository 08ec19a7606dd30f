// Instruction sets: what this CPU and this operating system allow, and which one is in force.
#pragma once

#include <string>
#include <vector>

namespace niwaki {

// Within a family (x86: avx2.., Arm: neon..) a later one includes the earlier ones, but for avxvnni: not every CPU with
// avx512vnni has its narrow twin. amx is avx512vnni with a matrix unit.
enum class Isa : int { scalar = 0, avx2 = 1, avxvnni = 2, avx512vnni = 3, amx = 4, neon = 11, dotprod = 12, i8mm = 13 };

const char* isa_name(Isa isa);

// The sets this machine can run, in rising order; always begins with scalar.
const std::vector<Isa>& supported_isas();

// What a kernel is chosen for: NIWAKI_ISA where it is set (an unknown or unsupported name throws Error), else the best
// supported. Read anew at each call, so that a test can set the variable.
Isa current_isa();

// Throws Error for a name that is unknown or that this machine can't run.
Isa parse_isa(const std::string& name);

// True where code for `kernel` may run when `in_force` is the chosen set.
bool isa_includes(Isa in_force, Isa kernel);

// Words for people: "Intel(R) Xeon(R) Processor", or the architecture where the name is not known.
std::string cpu_name();

}  // namespace niwaki
