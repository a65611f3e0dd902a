#include "cluster/lab/datapath/rule_sync.h"

#include <algorithm>
#include <cstdlib>

#include "base/clock.h"
#include "base/file.h"

namespace cluster {
namespace {

using base::Result;

Result<> forget(const DatapathNode& node, const LostFlow& flow) {
  const bool ipv4 = flow.frontend.address.family == base::AddressFamily::ipv4;
  return delete_flows(
      node, {"-f", ipv4 ? "ipv4" : "ipv6", "-p", "udp", "--orig-dst",
             flow.frontend.address.to_string(), "--orig-port-dst",
             std::to_string(flow.frontend.port), "--reply-src", flow.backend.address.to_string()});
}

// What the kernel holds for itself and cannot give back: rules are in slabs, and large ones in
// vmalloc's. Of the whole machine: what others allocate meanwhile is in it.
std::optional<std::int64_t> kernel_memory() {
  const auto text = base::read_file("/proc/meminfo");
  if (!text) return std::nullopt;
  std::int64_t kilobytes = 0;
  for (const std::string_view field : {"SUnreclaim:", "VmallocUsed:", "Percpu:"}) {
    const auto at = text->find(field);
    if (at == std::string::npos) return std::nullopt;
    kilobytes += std::strtoll(text->c_str() + at + field.size(), nullptr, 10);
  }
  return kilobytes * 1024;
}

}  // namespace

Result<> delete_flows(const DatapathNode& node, const std::vector<std::string>& which) {
  constexpr int most_looks = 50;
  std::vector<std::string> argv{"conntrack", "-D"};
  argv.insert(argv.end(), which.begin(), which.end());
  for (int look = 1;; ++look) {
    const auto deleted = node.run(argv, "");
    const auto says = [&](std::string_view words) {
      return deleted.error().message.find(words) != std::string::npos;
    };
    // It exits with 1 when there was no such flow.
    if (deleted || says("0 flow entries have been deleted")) return {};
    if (look == most_looks || !says("such conntrack doesn't exist")) {
      return std::unexpected(deleted.error());
    }
  }
}

Result<> RuleSync::sync(const ServiceTable& table,
                        const std::function<std::vector<Load>(const DatapathNode&)>& rules_of) {
  const auto lost = lost_udp_flows(table_, table, nodes_);
  const auto memory_before = kernel_memory();
  base::Duration loading{0};
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const auto& node = nodes_[i];
    auto loads = rules_of(node);
    for (std::size_t k = 0; k < loads.size(); ++k) {
      if (k < loaded_[i].size() && loaded_[i][k] == loads[k]) continue;
      const auto begun = base::monotonic_now();
      if (auto done = node.run(loads[k].argv, loads[k].text); !done) {
        loaded_[i].clear();  // what holds now is not known
        return base::in_context(std::move(done).error(), "{}", node.name);
      }
      loading += base::monotonic_now() - begun;
    }
    loaded_[i] = std::move(loads);
    for (const auto& flow : lost) {
      if (auto done = forget(node, flow); !done) {
        return base::in_context(std::move(done).error(), "{}", node.name);
      }
    }
  }
  table_ = table;
  if (loading.count() == 0) return {};
  load_ns_ = loading.count();
  memory_bytes_.reset();
  const auto memory_after = kernel_memory();
  // Where others gave back more meanwhile, how much this took is not known.
  if (memory_before && memory_after && *memory_after > *memory_before) {
    memory_bytes_ = *memory_after - *memory_before;
  }
  return {};
}

base::Json RuleSync::cost() const {
  base::Json cost = {{"load_ns", load_ns_}};
  if (memory_bytes_) cost["kernel_memory_bytes"] = *memory_bytes_;
  return cost;
}

std::size_t RuleSync::count_lines(std::string_view start) const {
  std::size_t count = 0;
  if (loaded_.empty()) return count;
  for (const auto& load : loaded_.front()) {
    std::string_view rest = load.text;
    while (!rest.empty()) {
      auto line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
      if (line.starts_with(start)) ++count;
    }
  }
  return count;
}

std::vector<LostFlow> lost_udp_flows(const ServiceTable& before, const ServiceTable& after,
                                     const std::vector<DatapathNode>& nodes) {
  const auto flows_of = [&](const ServiceTable& table) {
    std::vector<std::pair<base::Endpoint, base::Endpoint>> flows;
    for (const auto& entry : table.entries) {
      if (entry.protocol != Protocol::UDP) continue;
      for (const auto& frontend : frontends_of(entry, nodes)) {
        for (const auto& backend : entry.backends) flows.push_back({frontend, backend.endpoint});
      }
    }
    std::sort(flows.begin(), flows.end());
    return flows;
  };
  const auto now = flows_of(after);
  std::vector<LostFlow> lost;
  for (const auto& flow : flows_of(before)) {
    if (!std::binary_search(now.begin(), now.end(), flow))
      lost.push_back({flow.first, flow.second});
  }
  return lost;
}

}  // namespace cluster
