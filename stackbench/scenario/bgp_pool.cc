#include "stackbench/scenario/bgp_pool.h"

#include <algorithm>

#include "cluster/lab/addresses.h"

namespace stackbench::bgp {
namespace {

namespace addresses = cluster::addresses;
using base::AddressFamily;
using base::IpAddress;
using bgp_peer::Prefix;

// The lab's pools have 16 bits below them in both families.
constexpr int pool_bits = 16;

int balancers_of(const cluster::TopologySpec& topology) {
  return static_cast<int>(std::ranges::count_if(topology.services, [](const auto& service) {
    return service.second.type == cluster::ServiceType::LoadBalancer;
  }));
}

IpAddress address_at(AddressFamily family, int index) {
  return family == AddressFamily::ipv4 ? addresses::load_balancer_ipv4(index)
                                       : addresses::load_balancer_ipv6(index);
}

// Indices of a pool: its first and the one behind its last. Topologies number their own from 1 on.
std::pair<int, int> indices_of(const Prefix& pool) {
  const std::size_t end = pool.address.family == AddressFamily::ipv4 ? 4 : 16;
  const int first = pool.address.bytes[end - 2] << 8 | pool.address.bytes[end - 1];
  return {first, first + (1 << (pool.address.host_prefix() - pool.length))};
}

}  // namespace

Prefix lab_pool(AddressFamily family) {
  const auto any = address_at(family, 0);
  return {any, any.host_prefix() - pool_bits};
}

std::vector<IpAddress> take_addresses(const Prefix& pool, const cluster::TopologySpec& topology,
                                      int count) {
  const auto [first, end] = indices_of(pool);
  const int own = balancers_of(topology);
  std::vector<IpAddress> taken;
  for (int index = std::max(first + 1, own + 1); index < end - 1; ++index) {
    if (std::cmp_equal(taken.size(), count)) break;
    taken.push_back(address_at(pool.address.family, index));
  }
  return taken;
}

int addresses_in(const Prefix& pool, const cluster::TopologySpec& topology) {
  return static_cast<int>(take_addresses(pool, topology, 1 << pool_bits).size());
}

}  // namespace stackbench::bgp
