// A network namespace as a program in it sees it: its interfaces, and where their other ends are.
#pragma once

#include <string>
#include <vector>

#include "base/describe.h"

namespace base {

struct NetworkLink {
  std::string name;
  int index = 0;
  int peer_index = 0;  // of the other end of a pair, in whose namespace that is; else its own
  int mtu = 0;
};

template <typename Visit, SelfOf<NetworkLink> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "The interface's name.", .required = true});
  visit("index", self.index, {.doc = "Its index.", .required = true});
  visit("peer_index", self.peer_index, {.doc = "That of its other end, wherever that is."});
  visit("mtu", self.mtu, {.doc = "The largest packet it carries."});
}

struct PodNetwork {
  std::vector<NetworkLink> links;
  std::string congestion_control;

  // The first but loopback; nullptr where there is none.
  [[nodiscard]] const NetworkLink* first_link() const;
  [[nodiscard]] const NetworkLink* link_at(int index) const;
};

template <typename Visit, SelfOf<PodNetwork> Self>
void describe(Visit& visit, Self& self) {
  visit("links", self.links, {.doc = "Interfaces, in the order of their indices."});
  visit("congestion_control", self.congestion_control, {.doc = "Of new TCP connections."});
}

// Reads it from /proc and /sys below `root` ("/"; a directory with made-up ones in tests), which
// must be those of the namespace. Never fails: what cannot be read is empty or 0. Any thread.
[[nodiscard]] PodNetwork collect_pod_network(const std::string& root = "/");

}  // namespace base
