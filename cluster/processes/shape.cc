#include "cluster/processes/shape.h"

#include <algorithm>

namespace cluster::processes {

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

std::string to_string(const Shape& shape) {
  auto text =
      fmt::format("{} {}, kube-proxy {}, CNI {}", shape.nodes, shape.nodes == 1 ? "node" : "nodes",
                  base::enum_name(shape.proxy), base::enum_name(shape.cni));
  if (shape.bgp != Bgp::none) text += fmt::format(", BGP {}", base::enum_name(shape.bgp));
  return text;
}

}  // namespace cluster::processes
