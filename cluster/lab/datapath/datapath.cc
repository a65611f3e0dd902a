#include "cluster/lab/datapath/datapath.h"

#include <algorithm>
#include <iterator>

namespace cluster {

base::Result<> WholeTableDatapath::sync(const ServiceTable& table) {
  if (table == table_) return {};
  RETURN_IF_ERROR(publish(table));
  table_ = table;
  return {};
}

bool is_external(const ServiceEntry& entry) {
  return entry.node_port != 0 || !entry.load_balancer_ips.empty();
}

std::vector<base::Endpoint> frontends_of(const ServiceEntry& entry,
                                         const std::vector<DatapathNode>& nodes) {
  std::vector<base::Endpoint> frontends{entry.cluster};
  for (const auto& address : entry.load_balancer_ips) {
    frontends.push_back({address, entry.cluster.port});
  }
  if (entry.node_port == 0) return frontends;
  const bool ipv4 = entry.cluster.address.family == base::AddressFamily::ipv4;
  for (const auto& node : nodes) {
    frontends.push_back({ipv4 ? node.ipv4 : node.ipv6, entry.node_port});
  }
  return frontends;
}

std::vector<Backend> backends_on(const ServiceEntry& entry, std::string_view node) {
  std::vector<Backend> local;
  std::ranges::copy_if(entry.backends, std::back_inserter(local),
                       [&](const Backend& backend) { return backend.node == node; });
  return local;
}

}  // namespace cluster
