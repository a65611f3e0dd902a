// How a lab's nodes implement Services: the seam between the lab, which knows objects and
// namespaces, and one datapath, which knows rules or hooks. One Datapath is made per environment
// and spans its nodes; a datapath lives in its own file, named as a scenario spells it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/json.h"
#include "base/result.h"
#include "cluster/topology.h"

namespace cluster {

// One ready endpoint of a Service port.
struct Backend {
  base::Endpoint endpoint;  // the pod's address and targetPort
  std::string pod;          // "web-0"; empty where the EndpointSlice names none
  std::string node = {};    // "node2", where it runs; empty where the EndpointSlice names none

  bool operator==(const Backend&) const = default;
};

// One port of one Service in one address family: what is translated, and to whom. A dual-stack
// Service with two ports is four entries.
struct ServiceEntry {
  std::string service;    // "web"
  std::string port_name;  // "tcp-rr"; empty for the single port of a Service that does not name it
  Protocol protocol = Protocol::TCP;
  base::Endpoint cluster;         // the Service's ClusterIP and port
  std::vector<Backend> backends;  // ready ones, ascending by endpoint; empty: connects are refused
  std::string in_namespace = "default";
  std::uint16_t node_port = 0;                       // at every node; 0: none
  std::vector<base::IpAddress> load_balancer_ips{};  // of this family; offered at the cluster port
  // externalTrafficPolicy Local: who comes from outside meets pods of the node it came to, or none.
  bool external_local = false;
  std::chrono::seconds affinity{0};  // sessionAffinity ClientIP, for so long; 0: none

  bool operator==(const ServiceEntry&) const = default;
};

// Everything a datapath implements at one moment, ascending by (service, port name, protocol,
// cluster endpoint), so that equal states are equal tables.
struct ServiceTable {
  std::vector<ServiceEntry> entries;

  bool operator==(const ServiceTable&) const = default;
};

// Runs one program to its end, as root in a node's network namespace and in the lab's mount
// namespace (private /run, so private locks), with `input` on its stdin; returns its stdout.
// Errors: missing (no such program), timed_out, system (a non-zero exit, with the end of its
// stderr). Called from the controller's thread.
using RunInNode = std::function<base::Result<std::string>(const std::vector<std::string>& argv,
                                                          std::string_view input)>;

// Runs a function on a thread that is in a node's network namespace, and returns what it returned.
// Errors: also not_permitted, system.
using DoInNode = std::function<base::Result<>(const std::function<base::Result<>()>& work)>;

struct DatapathPod {
  std::string name;  // "web-0"
  base::IpAddress ipv4;
  base::IpAddress ipv6;
  std::string cgroup;          // its cgroup2 directory, a path the controller can open
  std::string interface = {};  // its host-side interface, in the node's network namespace
};

struct DatapathNode {
  std::string name;  // "node1"
  int number = 1;    // from 1
  base::IpAddress ipv4 = {};
  base::IpAddress ipv6 = {};
  std::string pod_cidr_ipv4 = {};  // "10.244.1.0/24": the pods of this node
  std::string pod_cidr_ipv6 = {};
  std::string cluster_cidr_ipv4 = {};  // "10.244.0.0/16": the pods of every node
  std::string cluster_cidr_ipv6 = {};
  // The cgroup2 directory above every pod of this node (<environment>/<node>), a path the
  // controller can open. A hook attached here sees these pods' sockets and no others.
  std::string cgroup = {};
  // The node's network namespace, for setns(2). The environment owns it and outlives the datapath.
  int netns = -1;
  // The node's interface towards the router and everything beyond.
  std::string uplink = {};
  RunInNode run = {};
  DoInNode inside = {};
  std::vector<DatapathPod> pods = {};
};

// Calls come from one thread, the controller's. A Datapath goes before its nodes; its destructor
// takes back whatever would outlive them (hooks on cgroups), and leaves rules to die with their
// namespaces.
class Datapath {
 public:
  virtual ~Datapath() = default;

  // Makes every node implement exactly this table: entries not in it are gone. Returns once the
  // kernel holds it; the same table again changes nothing. Errors: missing (a tool or kernel
  // feature), not_permitted, system; the old table may then hold on some nodes.
  virtual base::Result<> sync(const ServiceTable& table) = 0;
  // What a report must know to repeat it: tools and versions, modes, rule counts of the last sync.
  // Never fails; what could not be learnt is left out.
  [[nodiscard]] virtual base::Json facts() const = 0;
};

// A datapath that takes a table as a whole, and is told of it only when it has changed.
class WholeTableDatapath : public Datapath {
 public:
  base::Result<> sync(const ServiceTable& table) final;

 protected:
  // Puts the table in force. Errors: as sync().
  virtual base::Result<> publish(const ServiceTable& table) = 0;
  // The one published last.
  [[nodiscard]] const ServiceTable& table() const { return table_; }

 private:
  ServiceTable table_;
};

// Is this port offered beyond the ClusterIP: at the nodes, or at a load balancer's address?
[[nodiscard]] bool is_external(const ServiceEntry& entry);

// Where a client inside reaches this port: the ClusterIP, the load balancer's addresses, the
// NodePort at each of `nodes`.
[[nodiscard]] std::vector<base::Endpoint> frontends_of(const ServiceEntry& entry,
                                                       const std::vector<DatapathNode>& nodes);

// Those of an entry's backends that run on `node`.
[[nodiscard]] std::vector<Backend> backends_on(const ServiceEntry& entry, std::string_view node);

// Every datapath is made by a function of this shape, declared in its own header:
//   base::Result<std::unique_ptr<Datapath>> make_<kind>_datapath(const std::vector<DatapathNode>&
//   nodes);
// It prepares the nodes for an empty table. Errors: as sync().
using MakeDatapath =
    base::Result<std::unique_ptr<Datapath>> (*)(const std::vector<DatapathNode>& nodes);

}  // namespace cluster
