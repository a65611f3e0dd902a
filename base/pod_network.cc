#include "base/pod_network.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/file.h"

namespace base {
namespace {

std::string line_of(const std::string& path) {
  const auto text = read_file(path).value_or("");
  return text.substr(0, text.find('\n'));
}

int number_in(const std::string& path) {
  const auto text = line_of(path);
  int number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

const NetworkLink* PodNetwork::first_link() const {
  const auto found =
      std::ranges::find_if(links, [](const NetworkLink& link) { return link.name != "lo"; });
  return found == links.end() ? nullptr : &*found;
}

const NetworkLink* PodNetwork::link_at(int index) const {
  const auto found = std::ranges::find(links, index, &NetworkLink::index);
  return found == links.end() ? nullptr : &*found;
}

PodNetwork collect_pod_network(const std::string& root) {
  PodNetwork network;
  network.congestion_control = line_of(root + "/proc/sys/net/ipv4/tcp_congestion_control");
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(root + "/sys/class/net", ignored)) {
    const auto path = entry.path().string();
    const int index = number_in(path + "/ifindex");
    // Not an interface: bonding's list of its masters stands there, too.
    if (index == 0) continue;
    network.links.push_back({.name = entry.path().filename().string(),
                             .index = index,
                             .peer_index = number_in(path + "/iflink"),
                             .mtu = number_in(path + "/mtu")});
  }
  std::ranges::sort(network.links, {}, &NetworkLink::index);
  return network;
}

}  // namespace base
