#include "stackbench/backends_seen.h"

#include <algorithm>

#include "stackbench/plan.h"

namespace stackbench {
namespace {

// One of n backends is missed by c draws with a probability below n * exp(-c / n): here 1 in 3,000
// n.
constexpr int draws_per_backend = 8;
constexpr int least_draws = 16;
// Of two new ones of a client on a cluster.
constexpr base::Duration between_connections =
    base::Duration(std::chrono::minutes(1)) / cluster_connections_per_minute;
constexpr base::Duration least_duration = std::chrono::milliseconds(30);
// Of who is gone: a try must not wait for him as long as a workload may.
constexpr base::Duration longest_timeout = std::chrono::milliseconds(200);

}  // namespace

bool reaches_every_backend(const cluster::ServiceSpec& service, DialTarget::Kind dialled) {
  const bool from_outside =
      dialled == DialTarget::Kind::node_port || dialled == DialTarget::Kind::load_balancer;
  return service.session_affinity == base::kube::SessionAffinity::None &&
         !(from_outside && service.external_traffic_policy == base::kube::TrafficPolicy::Local);
}

bench::WorkloadSpec backends_try(bench::WorkloadSpec spec, std::size_t backends) {
  const int draws = std::max(least_draws, draws_per_backend * static_cast<int>(backends));
  const bool keeps = bench::keeps_connections(spec);
  spec.rate.reset();
  spec.connections = keeps ? draws : 1;
  spec.generators = 1;
  spec.duration = keeps ? least_duration : std::max(least_duration, draws * between_connections);
  spec.warm_up = base::Duration(0);
  spec.timeout = std::min(spec.timeout, longest_timeout);
  spec.wait = bench::WaitStrategy::block;
  return spec;
}

void BackendsSeen::add(const Sample& tried) {
  for (std::size_t i = 0; i < tried.servers.size(); ++i) {
    if (tried.servers[i].connections > 0) seen_.insert(i);
  }
  failed_ = tried.client.errors.total() > 0;
}

}  // namespace stackbench
