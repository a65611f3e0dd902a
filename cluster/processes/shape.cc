#include "cluster/processes/shape.h"

#include <algorithm>

#include "cluster/processes/layout.h"

namespace cluster::processes {

using DurationText = base::StringScalar<base::Duration>;

base::Result<> check_name(std::string_view name) {
  constexpr std::size_t longest = 40;
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const bool good = !name.empty() && name.size() <= longest && plain(name.front()) &&
                    plain(name.back()) &&
                    std::ranges::all_of(name, [&](char c) { return plain(c) || c == '-'; });
  if (good) return {};
  return base::fail(base::ErrorKind::usage,
                    "--name: expected up to {} small letters, digits and inner dashes, got \"{}\"",
                    longest, name);
}

base::Result<> add_clock_ahead(Shape& shape, std::string_view word) {
  const auto equals = word.find('=');
  const std::string node(word.substr(0, equals));
  bool known = false;
  for (int number = 1; number <= shape.nodes; ++number) known |= node == node_name(number);
  const auto ahead = DurationText::parse(
      equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1));
  if (known && ahead && ahead->count() > 0 && shape.clocks_ahead.emplace(node, *ahead).second) {
    return {};
  }
  return base::fail(base::ErrorKind::usage,
                    "--clock-ahead: expected NODE=DURATION such as node1=50ms, a node (node1 to "
                    "{}) once, got \"{}\"",
                    node_name(shape.nodes), word);
}

std::vector<std::string> clock_words(const Shape& shape) {
  std::vector<std::string> words;
  for (const auto& [node, ahead] : shape.clocks_ahead) {
    words.push_back(fmt::format("{}={}", node, DurationText::format(ahead)));
  }
  return words;
}

std::string to_string(const Shape& shape) {
  auto text =
      fmt::format("{} {}, kube-proxy {}, CNI {}", shape.nodes, shape.nodes == 1 ? "node" : "nodes",
                  base::enum_name(shape.proxy), base::enum_name(shape.cni));
  if (shape.bgp != Bgp::none) text += fmt::format(", BGP {}", base::enum_name(shape.bgp));
  if (shape.mesh != Mesh::none) text += fmt::format(", mesh {}", base::enum_name(shape.mesh));
  for (const auto& [node, ahead] : shape.clocks_ahead) {
    text += fmt::format(", clock of {} {} ahead", node, DurationText::format(ahead));
  }
  return text;
}

}  // namespace cluster::processes
