// Which nodes and pods an environment has, and where: from the plan alone, so that two targets and
// two runs number them alike.
#pragma once

#include <string>
#include <vector>

#include "base/kube/endpoint_slice.h"
#include "base/kube/service.h"
#include "base/result.h"
#include "cluster/target.h"
#include "cluster/topology.h"

namespace cluster {

struct LaidOutPod {
  PodHandle handle;
  int number = 1;  // on its node, from 1
};

// A Service of type LoadBalancer: its addresses, and the nodes that attract what is sent there
// (externalTrafficPolicy Local: those with a pod of it).
struct LaidOutBalancer {
  std::string service;
  base::IpAddress ipv4;
  base::IpAddress ipv6;
  std::vector<int> nodes;
};

struct Layout {
  int nodes = 0;
  std::vector<LaidOutPod> pods = {};            // by group name, then replica; ids ascend from 1
  std::vector<LaidOutBalancer> balancers = {};  // by Service name
  std::vector<base::IpAddress> external_addresses = {};  // of the client outside, beside its own
};

// Numbers the pods. Errors: input, naming the field: an empty topology, a node that is not there,
// names that are no DNS labels, more pods than the address plan holds, ports that repeat, a Service
// whose target is no pod group.
[[nodiscard]] base::Result<Layout> lay_out(const EnvironmentPlan& plan);

// Whether this is planted in an environment.
[[nodiscard]] bool has_fault(const EnvironmentPlan& plan, FaultKind fault);

// The plan's ports as a Service writes them.
[[nodiscard]] std::vector<base::kube::ServicePort> service_ports(const EnvironmentPlan& plan);

// The objects the plan's Services are made of: dual stack, one slice a family, named as the
// EndpointSlice controller would (<service>-ipv4), every pod ready but those on standby.
[[nodiscard]] std::vector<base::kube::Service> services_of(const EnvironmentPlan& plan,
                                                           const Layout& layout);
[[nodiscard]] std::vector<base::kube::EndpointSlice> slices_of(const EnvironmentPlan& plan,
                                                               const Layout& layout);

}  // namespace cluster
