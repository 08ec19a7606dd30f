// classify NETWORK.niwaki PICTURE.ppm [N]: the N most likely classes of a picture, 5 by default (binary PPM or PGM of the size that the
// network expects).
#include <niwaki/niwaki.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>

struct Picture {
  int width = 0, height = 0, channels = 0;
  std::vector<std::uint8_t> pixels;

  explicit Picture(const char* path) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    int depth = 0;
    file >> kind >> width >> height >> depth;
    if (!file || (kind != "P5" && kind != "P6") || width < 1 || height < 1 || width > 16384 || height > 16384 || depth != 255)
      throw std::runtime_error(std::string(path) + ": not a binary PPM or PGM with 8 bits.");
    file.get();  // the one space before the pixels
    channels = kind == "P6" ? 3 : 1;
    pixels.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * static_cast<std::size_t>(channels));
    if (!file.read(reinterpret_cast<char*>(pixels.data()), static_cast<std::streamsize>(pixels.size())))
      throw std::runtime_error(std::string(path) + ": cut short.");
  }
};

int main(int argc, char** argv) try {
  if (argc < 3) return std::fprintf(stderr, "usage: classify NETWORK.niwaki PICTURE.ppm [N]\n"), 2;
  const Picture picture(argv[2]);
  niwaki_options options{};
  options.threads = 2;
  const niwaki::Model model(argv[1], options);
  niwaki::Session session(model, options);
  const auto outputs =
      session.run({niwaki::input(picture.pixels, {1, picture.height, picture.width, picture.channels}, NIWAKI_NHWC)});
  const std::vector<float>& scores = outputs.at(0).values;
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  order.resize(std::min<std::size_t>(order.size(), argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 5));
  for (const std::size_t i : order) std::printf("class %zu, score %.6f\n", i, static_cast<double>(scores[i]));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
