// What the rule-based datapaths share: loading rule texts into every node, only where they
// changed, and forgetting the tracked UDP flows that would go on to a backend that left.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cluster/lab/datapath/datapath.h"

namespace cluster {

// Deletes the tracked flows of a node that match, by conntrack(8), which is told which of them:
// {"-f", "ipv4", "-p", "udp"}. None is as good. It lists them first, and gives up at one that went
// by itself meanwhile, as flows do where many short ones come and go: then it looks again, 50 times
// at most. Errors: as DatapathNode::run.
base::Result<> delete_flows(const DatapathNode& node, const std::vector<std::string>& which);

class RuleSync {
 public:
  // One program and what it reads: {{"nft", "-f", "-"}, text}.
  struct Load {
    std::vector<std::string> argv;
    std::string text;

    bool operator==(const Load&) const = default;
  };

  explicit RuleSync(std::vector<DatapathNode> nodes)
      : nodes_(std::move(nodes)), loaded_(nodes_.size()) {}

  // Brings every node to what `rules_of` says of `table`. Errors: as Datapath::sync(), led by the
  // node's name.
  base::Result<> sync(const ServiceTable& table,
                      const std::function<std::vector<Load>(const DatapathNode&)>& rules_of);

  // What the last sync that loaded anything took and added to the kernel's memory, as facts:
  // {"load_ns": ..., "kernel_memory_bytes": ...}; the memory is left out where it is not known.
  [[nodiscard]] base::Json cost() const;

  // How many lines of the first node's rules begin (after blanks) with `start`.
  [[nodiscard]] std::size_t count_lines(std::string_view start) const;

 private:
  std::vector<DatapathNode> nodes_;
  std::vector<std::vector<Load>> loaded_;  // beside nodes_
  ServiceTable table_;
  std::int64_t load_ns_ = 0;
  std::optional<std::int64_t> memory_bytes_;
};

// A UDP backend that is no longer behind an address of its Service.
struct LostFlow {
  base::Endpoint frontend;
  base::Endpoint backend;

  bool operator==(const LostFlow&) const = default;
};

// The UDP translations of `before` that `after` no longer has, and, where a Service had no backend
// and now has, nothing: a refused flow is not tracked. conntrack keeps a UDP flow's backend as long
// as packets come, so these flows must be deleted (pkg/proxy/conntrack/cleanup.go).
[[nodiscard]] std::vector<LostFlow> lost_udp_flows(const ServiceTable& before,
                                                   const ServiceTable& after,
                                                   const std::vector<DatapathNode>& nodes);

}  // namespace cluster
