#include "options.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>

const char* const kUsage =
    "usage: niwaki-run FILE [options]\n"
    "\n"
    "Loads a .niwaki file, runs it, compares the answers with stored ones and times it.\n"
    "Arrays are files of raw elements, little-endian, in row-major order, or .npy files as numpy writes them.\n"
    "\n"
    "  --entry NAME      which entry point of a file that has several, as niwaki inspect shows\n"
    "  --input FILE      an input, once for each in order; a .npy file says its sizes (default: noise, zeros for integers)\n"
    "  --expect FILE     an output to compare with, once for each in order; exit status 1 where they differ\n"
    "  --tolerance X     largest difference that passes (default: 0)\n"
    "  --save FILE       where to write an output, once for each in order; as .npy where the name ends so\n"
    "  --batch N         the free first size of the inputs: images at a time (default: 1)\n"
    "  --size N or HxW   size of the images (default: what the file says, else 224)\n"
    "  --size NAME=N     a free size by its name, which niwaki inspect shows (default: what the file says)\n"
    "  --threads N       default: 1\n"
    "  --rounds N        runs to time after the first and three more (default: 20; 0: none)\n"
    "  --layers          what each layer took, median of the rounds\n"
    "  --json            print the result as JSON\n"
    "\n"
    "NIWAKI_ISA forces an instruction set: scalar, avx2, avxvnni, avx512vnni, amx, neon, dotprod, i8mm.\n";

namespace {

int64_t whole_number(const std::string& option, const std::string& text, int64_t least) {
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || errno != 0 || value < least || value > 1000000)
    throw UsageError(option + ": '" + text + "' is not a whole number from " + std::to_string(least) + " to 1000000.");
  return value;
}

}  // namespace

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 >= argc) throw UsageError(argument + " needs a value; see niwaki-run --help.");
      return argv[++i];
    };
    if (argument == "--help" || argument == "-h") {
      options.help = true;
      return options;
    }
    if (argument == "--entry") {
      options.entry = value();
    } else if (argument == "--input") {
      options.inputs.push_back(value());
    } else if (argument == "--expect") {
      options.expected.push_back(value());
    } else if (argument == "--save") {
      options.saved.push_back(value());
    } else if (argument == "--batch") {
      options.batch = whole_number(argument, value(), 1);
    } else if (argument == "--threads") {
      options.threads = static_cast<int>(whole_number(argument, value(), 1));
    } else if (argument == "--rounds") {
      options.rounds = static_cast<int>(whole_number(argument, value(), 0));
    } else if (argument == "--size") {
      const std::string text = value();
      if (const size_t equals = text.find('='); equals != std::string::npos) {
        options.sizes[text.substr(0, equals)] = whole_number(argument, text.substr(equals + 1), 0);
        continue;
      }
      const size_t cross = text.find('x');
      options.height = whole_number(argument, text.substr(0, cross), 1);
      options.width = cross == std::string::npos ? options.height : whole_number(argument, text.substr(cross + 1), 1);
    } else if (argument == "--tolerance") {
      const std::string text = value();
      char* end = nullptr;
      options.tolerance = std::strtod(text.c_str(), &end);
      if (text.empty() || *end != '\0' || !(options.tolerance >= 0.0) || std::isinf(options.tolerance))
        throw UsageError("--tolerance: '" + text + "' is not a number of at least 0.");
    } else if (argument == "--layers") {
      options.layers = true;
    } else if (argument == "--json") {
      options.json = true;
    } else if (argument.size() > 1 && argument[0] == '-') {
      throw UsageError("there is no option " + argument + "; see niwaki-run --help.");
    } else if (options.file.empty()) {
      options.file = argument;
    } else {
      throw UsageError("one file at a time, not '" + options.file + "' and '" + argument + "'.");
    }
  }
  if (options.file.empty()) throw UsageError("which file? See niwaki-run --help.");
  return options;
}
