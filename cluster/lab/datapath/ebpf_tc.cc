#include "cluster/lab/datapath/ebpf_tc.h"

#include <array>
#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>

#include "base/bpf/bpf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "cluster/fabric/sandbox.h"
#include "cluster/lab/datapath/ebpf_tc.skel.h"
#include "cluster/lab/datapath/service_map.h"

namespace cluster {
namespace {

// BPF_TCX_INGRESS and BPF_TCX_EGRESS, Linux 6.6.
constexpr auto tcx_ingress = static_cast<bpf_attach_type>(46);
constexpr auto tcx_egress = static_cast<bpf_attach_type>(47);

// The programs of one node. Each node has its own, because each has a connection table of its own
// and another address.
struct NodePrograms {
  DatapathNode node;
  base::UniqueSkeleton<ebpf_tc_bpf> skeleton;
  std::vector<base::UniqueFd> links;

  [[nodiscard]] std::array<bpf_program*, 4> programs() const {
    const auto& progs = skeleton->progs;
    return {progs.from_pods, progs.to_pods, progs.from_outside, progs.to_outside};
  }
};

base::Result<> attach(NodePrograms& to, const std::string& interface, bpf_program* ingress,
                      bpf_program* egress) {
  const unsigned index = ::if_nametoindex(interface.c_str());
  if (index == 0) {
    return base::fail(base::ErrorKind::input, "ebpf_tc: {} has no interface \"{}\"", to.node.name,
                      interface);
  }
  for (const auto& [program, hook] :
       {std::pair(ingress, tcx_ingress), std::pair(egress, tcx_egress)}) {
    const base::BpfMessages messages;
    base::UniqueFd link(
        ::bpf_link_create(::bpf_program__fd(program), static_cast<int>(index), hook, nullptr));
    if (!link) {
      return messages.error(
          errno, fmt::format("ebpf_tc: attach {} to {} of {}", ::bpf_program__name(program),
                             interface, to.node.name));
    }
    to.links.push_back(std::move(link));
  }
  return {};
}

class EbpfTcDatapath final : public WholeTableDatapath {
 public:
  static base::Result<std::unique_ptr<Datapath>> make(const std::vector<DatapathNode>& nodes,
                                                      const EbpfTcSettings& settings,
                                                      bool at_pods) {
    std::unique_ptr<EbpfTcDatapath> datapath(new EbpfTcDatapath(settings, at_pods));
    for (const auto& node : nodes) RETURN_IF_ERROR(datapath->load_programs(node));
    RETURN_IF_ERROR(datapath->publish({}));
    for (auto& programs : datapath->nodes_) RETURN_IF_ERROR(datapath->attach_all(programs));
    return datapath;
  }

  [[nodiscard]] base::Json facts() const override;

 private:
  EbpfTcDatapath(const EbpfTcSettings& settings, bool at_pods)
      : settings_(settings), at_pods_(at_pods) {}

  base::Result<> load_programs(const DatapathNode& node);
  base::Result<> attach_all(NodePrograms& programs) const;
  base::Result<> publish(const ServiceTable& table) override;

  EbpfTcSettings settings_;
  bool at_pods_;
  std::vector<NodePrograms> nodes_;
  std::int64_t load_ns_ = 0;      // of the last table
  std::int64_t table_bytes_ = 0;  // its elements, on all nodes
};

base::Result<> EbpfTcDatapath::load_programs(const DatapathNode& node) {
  NodePrograms programs{.node = node, .skeleton = {}, .links = {}};
  ASSIGN_OR_RETURN(programs.skeleton, base::open_skeleton<ebpf_tc_bpf>("ebpf_tc"));
  auto& skeleton = *programs.skeleton;
  set_connection_table(settings_.table, *skeleton.rodata);
  write_address(node.ipv4, skeleton.rodata->own.ipv4);
  write_address(node.ipv6, skeleton.rodata->own.ipv6);
  const auto connections = settings_.table.connections;
  if (::bpf_map__set_max_entries(skeleton.maps.connections, connections) != 0 ||
      ::bpf_map__set_max_entries(skeleton.maps.connection_keys, 2 * connections) != 0) {
    return base::system_error(errno, "ebpf_tc: a table of {} connections", connections);
  }
  RETURN_IF_ERROR(base::load_skeleton(skeleton, "ebpf_tc"));
  nodes_.push_back(std::move(programs));
  return {};
}

base::Result<> EbpfTcDatapath::attach_all(NodePrograms& programs) const {
  const auto& node = programs.node;
  if (!node.inside) {
    return base::fail(base::ErrorKind::input, "ebpf_tc: {} has no interfaces to hook", node.name);
  }
  return node.inside([&]() -> base::Result<> {
    // The node's own sockets must not get the ports the table gives away.
    const auto& table = settings_.table;
    RETURN_IF_ERROR(write_sysctls(
        {{"net.ipv4.ip_local_reserved_ports",
          fmt::format("{}-{}", table.first_port, int{table.first_port} + table.ports - 1)}}));
    const auto& progs = programs.skeleton->progs;
    RETURN_IF_ERROR(attach(programs, node.uplink, progs.from_outside, progs.to_outside));
    if (!at_pods_) return {};
    for (const auto& pod : node.pods) {
      RETURN_IF_ERROR(attach(programs, pod.interface, progs.from_pods, progs.to_pods));
    }
    return {};
  });
}

base::Result<> EbpfTcDatapath::publish(const ServiceTable& table) {
  const auto begun = base::monotonic_now();
  std::vector<DatapathNode> nodes;
  for (const auto& programs : nodes_) nodes.push_back(programs.node);
  RETURN_IF_ERROR(check_services("ebpf_tc", table, nodes));
  table_bytes_ = 0;
  for (auto& programs : nodes_) {
    const int tables = ::bpf_map__fd(programs.skeleton->maps.tables);
    const auto put = [&](__u32 index, const std::vector<OfferedPort>& ports) -> base::Result<> {
      auto bytes = publish_services(tables, index, ports);
      if (!bytes) return base::in_context(std::move(bytes).error(), "ebpf_tc");
      table_bytes_ += *bytes;
      return {};
    };
    if (at_pods_) RETURN_IF_ERROR(put(services_inside, offered_inside(table, nodes)));
    auto outside = offered_outside(table, programs.node);
    if (settings_.hides_clients) {
      for (auto& port : outside) port.here = {};
    }
    RETURN_IF_ERROR(put(services_outside, outside));
    // Only now: whoever sees the new number started after the swap and so sees the new tables.
    std::atomic_ref(programs.skeleton->bss->generation).fetch_add(1);
  }
  load_ns_ = (base::monotonic_now() - begun).count();
  return {};
}

base::Json EbpfTcDatapath::facts() const {
  std::size_t backends = 0;
  for (const auto& entry : table().entries) backends += entry.backends.size();
  std::optional<ConnectionCounters> counted = ConnectionCounters{};
  std::size_t links = 0;
  std::map<std::string, base::ProgramCost> costs;
  for (const auto& programs : nodes_) {
    links += programs.links.size();
    const auto own =
        read_connection_counters(::bpf_map__fd(programs.skeleton->maps.connection_counters));
    if (own && counted) {
      add(*counted, *own);
    } else {
      counted.reset();  // a sum that lacks a part is no count
    }
    for (const bpf_program* program : programs.programs()) {
      const auto cost = base::program_cost(::bpf_program__fd(program));
      if (!cost) continue;
      auto& sum = costs[::bpf_program__name(program)];
      sum.run_count += cost->run_count;
      sum.run_time_ns += cost->run_time_ns;
    }
  }
  base::Json hooks = base::Json::object();
  for (const auto& [hook, cost] : costs) {
    hooks[hook] = {{"run_count", cost.run_count}, {"run_time_ns", cost.run_time_ns}};
  }
  base::Json facts = {
      {"attached_to", at_pods_ ? "tcx of pods and uplinks" : "tcx of uplinks"},
      {"links", links},
      {"libbpf", fmt::format("{}.{}", ::libbpf_major_version(), ::libbpf_minor_version())},
      {"service_ports", table().entries.size()},
      {"backends", backends},
      {"load_ns", load_ns_},
      {"kernel_memory_bytes", table_bytes_},
      {"hooks", std::move(hooks)}};
  if (!counted) return facts;
  auto connection_table = to_facts(*counted);
  connection_table["capacity"] = settings_.table.connections;
  connection_table["memory_bytes"] = connection_table_bytes(settings_.table.connections) *
                                     static_cast<std::int64_t>(nodes_.size());
  facts["connection_table"] = std::move(connection_table);
  return facts;
}

}  // namespace

base::Result<std::unique_ptr<Datapath>> make_ebpf_tc_datapath(
    const std::vector<DatapathNode>& nodes, const EbpfTcSettings& settings) {
  return EbpfTcDatapath::make(nodes, settings, true);
}

base::Result<std::unique_ptr<Datapath>> make_ebpf_tc_uplinks(const std::vector<DatapathNode>& nodes,
                                                             const EbpfTcSettings& settings) {
  return EbpfTcDatapath::make(nodes, settings, false);
}

}  // namespace cluster
