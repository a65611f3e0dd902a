#include "cluster/lab/policy/policy.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <map>
#include <numeric>
#include <span>
#include <utility>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <sys/mman.h>

#include "base/bpf/bpf.h"
#include "base/fd.h"
#include "base/kube/network_policy.h"
#include "cluster/lab/datapath/service_map.h"
#include "cluster/lab/policy/policy.skel.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Result;

static_assert(sizeof(PolicyEntry) == 24);
static_assert(sizeof(PolicySwitch) == 16);
static_assert(sizeof(PolicyConnection) == 40);
static_assert(sizeof(PolicyOrigin) == 24);
static_assert(sizeof(PolicyDenial) == 72);
static_assert(sizeof(PolicyCounters) == 48);
static_assert(sizeof(ConnectionTuple) == 40);

// BPF_TCX_INGRESS and BPF_TCX_EGRESS, Linux 6.6, and before all others (BPF_F_BEFORE).
constexpr auto policy_ingress = static_cast<bpf_attach_type>(46);
constexpr auto policy_egress = static_cast<bpf_attach_type>(47);
constexpr __u32 before_all = 1U << 3;

// Memory that programs and we share: the values of a map (BPF_F_MMAPABLE).
class MappedValues {
 public:
  MappedValues() = default;
  MappedValues(MappedValues&& other) noexcept
      : at_(std::exchange(other.at_, nullptr)), bytes_(other.bytes_) {}
  MappedValues& operator=(MappedValues&& other) noexcept {
    std::swap(at_, other.at_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MappedValues() {
    if (at_ != nullptr) ::munmap(at_, bytes_);
  }

  static Result<MappedValues> make(int map, std::size_t bytes) {
    MappedValues mapped;
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    if (at == MAP_FAILED) return base::system_error(errno, "policy: map {} bytes", bytes);
    mapped.at_ = at;
    mapped.bytes_ = bytes;
    return mapped;
  }
  template <typename Value>
  [[nodiscard]] Value* values() const {
    return static_cast<Value*>(at_);
  }

 private:
  void* at_ = nullptr;
  std::size_t bytes_ = 0;
};

// The programs of one node: they share all maps but those of its interfaces and of sources outside.
struct NodePolicy {
  std::string name;
  base::UniqueSkeleton<policy_bpf> skeleton;
  std::vector<base::UniqueFd> links;

  [[nodiscard]] std::array<bpf_program*, 4> programs() const {
    const auto& progs = skeleton->progs;
    return {progs.policy_from_pod, progs.policy_to_pod, progs.policy_from_uplink,
            progs.policy_to_uplink};
  }
};

Result<> put_at(NodePolicy& to, const std::string& interface, bpf_program* program,
                bpf_attach_type hook) {
  const unsigned index = ::if_nametoindex(interface.c_str());
  if (index == 0) {
    return base::fail(ErrorKind::input, "policy: {} has no interface \"{}\"", to.name, interface);
  }
  bpf_link_create_opts options{};
  options.sz = sizeof(options);
  if (hook == policy_ingress) options.flags = before_all;
  const base::BpfMessages messages;
  base::UniqueFd link(
      ::bpf_link_create(::bpf_program__fd(program), static_cast<int>(index), hook, &options));
  if (!link) {
    return messages.error(errno, fmt::format("policy: attach {} to {} of {}",
                                             ::bpf_program__name(program), interface, to.name));
  }
  to.links.push_back(std::move(link));
  return {};
}

base::Endpoint endpoint_of(const __u8 (&address)[16], __u16 port) {
  base::Endpoint endpoint;
  endpoint.port = ntohs(port);
  const std::span bytes(address);
  constexpr std::array<__u8, 12> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::ranges::equal(bytes.first<12>(), mapped)) {
    endpoint.address.family = base::AddressFamily::ipv4;
    std::ranges::copy(bytes.subspan<12>(), endpoint.address.bytes.begin());
  } else {
    endpoint.address.family = base::AddressFamily::ipv6;
    std::ranges::copy(bytes, endpoint.address.bytes.begin());
  }
  return endpoint;
}

DenialReason reason_of(__u8 reason) {
  switch (reason) {
    case policy_revoked:
      return DenialReason::revoked;
    case policy_unknown_connection:
      return DenialReason::unknown_connection;
    case policy_unknown_fragment:
      return DenialReason::unknown_fragment;
    case policy_foreign_source:
      return DenialReason::foreign_source;
    case policy_unreadable:
      return DenialReason::unreadable;
    default:
      return DenialReason::no_rule_allows;
  }
}

class TcxPolicyEnforcement final : public PolicyEnforcement {
 public:
  TcxPolicyEnforcement(const std::vector<PolicyPod>& pods, const PolicySettings& settings)
      : settings_(settings) {
    for (const auto& pod : pods) numbers_.emplace(pod.name, pod.number);
    for (const auto& pod : pods) names_.emplace(pod.number, pod.name);
  }

  Result<> load(const DatapathNode& node);
  // After load() of every node.
  Result<> map_shared();
  Result<> attach_all(const DatapathNode& node, NodePolicy& to, bool where_packets_come_in);
  Result<> attach_everywhere(const std::vector<DatapathNode>& nodes);

  Result<> prepare(const PolicyTables& tables) override;
  base::MonotonicTime commit() override;
  [[nodiscard]] RecentDenials recent_denials() const override;
  [[nodiscard]] base::Json facts() const override;

 private:
  [[nodiscard]] const policy_bpf& first() const { return *nodes_.front().skeleton; }

  // What facts() says of a generation.
  struct Loaded {
    std::uint32_t generation = 0;
    PolicyTables sizes;  // without what it holds
    std::size_t rules = 0;
    std::size_t spans = 0;
    std::size_t bytes = 0;
    std::int64_t load_ns = 0;
  };

  PolicySettings settings_;
  std::map<std::string, std::uint32_t> numbers_;
  std::map<std::uint32_t, std::string> names_;
  std::vector<NodePolicy> nodes_;
  MappedValues switch_;
  MappedValues denials_;
  Loaded prepared_;
  Loaded in_force_;
};

Result<> TcxPolicyEnforcement::load(const DatapathNode& node) {
  NodePolicy programs{.name = node.name, .skeleton = {}, .links = {}};
  ASSIGN_OR_RETURN(programs.skeleton, base::open_skeleton<policy_bpf>("policy"));
  auto& skeleton = *programs.skeleton;
  skeleton.rodata->node_number = static_cast<__u32>(node.number);
  skeleton.rodata->denials_kept = settings_.denials;
  ASSIGN_OR_RETURN(const auto ipv4, base::kube::Cidr::parse(node.pod_cidr_ipv4));
  ASSIGN_OR_RETURN(const auto ipv6, base::kube::Cidr::parse(node.pod_cidr_ipv6));
  write_address(ipv4.address, skeleton.rodata->pods_of_node.ipv4);
  write_address(ipv6.address, skeleton.rodata->pods_of_node.ipv6);
  skeleton.rodata->pods_prefix_ipv4 = static_cast<__u32>(96 + ipv4.prefix);
  skeleton.rodata->pods_prefix_ipv6 = static_cast<__u32>(ipv6.prefix);
  auto& maps = skeleton.maps;
  if (nodes_.empty()) {
    if (::bpf_map__set_max_entries(maps.policy_connections, settings_.connections) != 0 ||
        ::bpf_map__set_max_entries(maps.policy_denials, settings_.denials) != 0) {
      return base::system_error(errno, "policy: a table of {} connections", settings_.connections);
    }
  } else {
    const auto& shared = first().maps;
    for (const auto& [own, theirs] : {std::pair(maps.policy_switch, shared.policy_switch),
                                      std::pair(maps.policy_tables, shared.policy_tables),
                                      std::pair(maps.policy_connections, shared.policy_connections),
                                      std::pair(maps.policy_fragments, shared.policy_fragments),
                                      std::pair(maps.policy_denials, shared.policy_denials),
                                      std::pair(maps.policy_counters, shared.policy_counters)}) {
      if (const int code = ::bpf_map__reuse_fd(own, ::bpf_map__fd(theirs)); code != 0) {
        return base::system_error(-code, "policy: share {}", ::bpf_map__name(theirs));
      }
    }
  }
  RETURN_IF_ERROR(base::load_skeleton(skeleton, "policy"));
  nodes_.push_back(std::move(programs));
  return {};
}

Result<> TcxPolicyEnforcement::map_shared() {
  ASSIGN_OR_RETURN(
      switch_, MappedValues::make(::bpf_map__fd(first().maps.policy_switch), sizeof(PolicySwitch)));
  ASSIGN_OR_RETURN(denials_, MappedValues::make(::bpf_map__fd(first().maps.policy_denials),
                                                settings_.denials * sizeof(PolicyDenial)));
  return {};
}

Result<> TcxPolicyEnforcement::attach_all(const DatapathNode& node, NodePolicy& to,
                                          bool where_packets_come_in) {
  if (!node.inside) {
    return base::fail(ErrorKind::input, "policy: {} has no interfaces to hook", node.name);
  }
  const auto hook = where_packets_come_in ? policy_ingress : policy_egress;
  const auto& progs = to.skeleton->progs;
  auto* at_pod = where_packets_come_in ? progs.policy_from_pod : progs.policy_to_pod;
  auto* at_uplink = where_packets_come_in ? progs.policy_from_uplink : progs.policy_to_uplink;
  return node.inside([&]() -> Result<> {
    RETURN_IF_ERROR(put_at(to, node.uplink, at_uplink, hook));
    for (const auto& pod : node.pods) {
      const auto number = numbers_.find(pod.name);
      if (number == numbers_.end()) {
        return base::fail(ErrorKind::input, "policy: there is no pod \"{}\"", pod.name);
      }
      const __u32 index = ::if_nametoindex(pod.interface.c_str());
      if (::bpf_map_update_elem(::bpf_map__fd(to.skeleton->maps.policy_interfaces), &index,
                                &number->second, BPF_ANY) != 0) {
        return base::system_error(errno, "policy: note the interface of {}", pod.name);
      }
      RETURN_IF_ERROR(put_at(to, pod.interface, at_pod, hook));
    }
    return {};
  });
}

// Where packets come in first, everywhere, so that none goes out without a mark.
Result<> TcxPolicyEnforcement::attach_everywhere(const std::vector<DatapathNode>& nodes) {
  for (const bool where_packets_come_in : {true, false}) {
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      RETURN_IF_ERROR(attach_all(nodes[i], nodes_[i], where_packets_come_in));
    }
  }
  return {};
}

Result<> TcxPolicyEnforcement::prepare(const PolicyTables& tables) {
  const auto begun = base::monotonic_now();
  const std::uint32_t generation = in_force_.generation + 1;
  const auto entries = lay_out(tables, generation);
  bpf_map_create_opts options{};
  options.sz = sizeof(options);
  options.map_flags = BPF_F_INNER_MAP;
  auto count = static_cast<__u32>(entries.size());
  const base::UniqueFd fresh(::bpf_map_create(BPF_MAP_TYPE_ARRAY, "policy_table", sizeof(__u32),
                                              sizeof(PolicyEntry), count, &options));
  if (!fresh) return base::system_error(errno, "policy: make a table of {} entries", count);
  std::vector<__u32> indexes(entries.size());
  std::iota(indexes.begin(), indexes.end(), 0U);
  if (::bpf_map_update_batch(fresh.get(), indexes.data(), entries.data(), &count, nullptr) != 0) {
    return base::system_error(errno, "policy: fill a table of {} entries", entries.size());
  }
  const __u32 slot = generation % POLICY_TABLES;
  const int table = fresh.get();
  // Returns after a grace period (kernel/bpf/syscall.c, maybe_wait_bpf_programs).
  if (::bpf_map_update_elem(::bpf_map__fd(first().maps.policy_tables), &slot, &table, BPF_ANY) !=
      0) {
    return base::system_error(errno, "policy: publish a table");
  }
  prepared_ = {.generation = generation,
               .sizes = {},
               .rules = tables.allowed.size(),
               .spans = tables.spans_ipv4.size() + tables.spans_ipv6.size(),
               .bytes = entries.size() * sizeof(PolicyEntry),
               .load_ns = (base::monotonic_now() - begun).count()};
  prepared_.sizes.policies = tables.policies;
  prepared_.sizes.identities = tables.identities;
  prepared_.sizes.classes = tables.classes;
  prepared_.sizes.rule_sets = tables.rule_sets;
  return {};
}

base::MonotonicTime TcxPolicyEnforcement::commit() {
  if (prepared_.generation > in_force_.generation) {
    std::atomic_ref(switch_.values<PolicySwitch>()->generation).store(prepared_.generation);
    in_force_ = prepared_;
  }
  return base::monotonic_now();
}

RecentDenials TcxPolicyEnforcement::recent_denials() const {
  RecentDenials recent;
  recent.total = std::atomic_ref(switch_.values<PolicySwitch>()->denials).load();
  auto* remembered = denials_.values<PolicyDenial>();
  std::vector<std::pair<std::uint64_t, Denial>> read;
  for (std::size_t i = 0; i < settings_.denials; ++i) {
    std::atomic_ref sequence(remembered[i].sequence);
    const auto before = sequence.load();
    if (before == 0 || before > recent.total) continue;
    const PolicyDenial copy = remembered[i];
    std::atomic_thread_fence(std::memory_order_acquire);
    if (sequence.load() != before) continue;
    const auto name = names_.find(copy.pod);
    read.emplace_back(
        before, Denial{.at_ns = static_cast<std::int64_t>(copy.time_ns),
                       .from = endpoint_of(copy.packet.source, copy.packet.source_port),
                       .to = endpoint_of(copy.packet.destination, copy.packet.destination_port),
                       .protocol = copy.packet.protocol,
                       .pod = name == names_.end() ? std::string() : name->second,
                       .egress = copy.egress != 0,
                       .generation = copy.generation,
                       .reason = reason_of(copy.reason),
                       .node = copy.node});
  }
  std::ranges::sort(read, {}, &std::pair<std::uint64_t, Denial>::first);
  for (auto& [sequence, denial] : read) recent.denials.push_back(std::move(denial));
  recent.lost = recent.total - std::min<std::uint64_t>(recent.total, recent.denials.size());
  return recent;
}

base::Json TcxPolicyEnforcement::facts() const {
  const auto& sizes = in_force_.sizes;
  base::Json facts = {{"attached_to", "tcx of pods and uplinks"},
                      {"generation", in_force_.generation},
                      {"policies", sizes.policies},
                      {"identities", sizes.identities},
                      {"classes", sizes.classes},
                      {"rule_sets", sizes.rule_sets},
                      {"rules", in_force_.rules},
                      {"spans", in_force_.spans},
                      {"table_bytes", in_force_.bytes},
                      {"load_ns", in_force_.load_ns},
                      {"connections", settings_.connections},
                      {"denials", std::atomic_ref(switch_.values<PolicySwitch>()->denials).load()}};
  const auto counted = base::read_per_cpu<PolicyCounters>(
      ::bpf_map__fd(first().maps.policy_counters), "policy: read the counters");
  if (counted) {
    const auto sum = [&](__u64 PolicyCounters::* member) {
      __u64 all = 0;
      for (const auto& counters : *counted) all += counters.*member;
      return all;
    };
    facts["counts"] = {{"judged", sum(&PolicyCounters::judged)},
                       {"rejudged", sum(&PolicyCounters::rejudged)},
                       {"denied", sum(&PolicyCounters::denied)},
                       {"unknown", sum(&PolicyCounters::unknown)},
                       {"fragments", sum(&PolicyCounters::fragments)},
                       {"crowded", sum(&PolicyCounters::crowded)}};
  }
  std::map<std::string, base::ProgramCost> costs;
  for (const auto& node : nodes_) {
    for (const bpf_program* program : node.programs()) {
      const auto cost = base::program_cost(::bpf_program__fd(program));
      if (!cost) continue;
      auto& sum = costs[::bpf_program__name(program)];
      sum.run_count += cost->run_count;
      sum.run_time_ns += cost->run_time_ns;
    }
  }
  facts["hooks"] = base::Json::object();
  for (const auto& [hook, cost] : costs) {
    facts["hooks"][hook] = {{"run_count", cost.run_count}, {"run_time_ns", cost.run_time_ns}};
  }
  return facts;
}

}  // namespace

Result<std::unique_ptr<PolicyEnforcement>> PolicyEnforcement::attach(
    const std::vector<DatapathNode>& nodes, const std::vector<PolicyPod>& pods,
    const PolicySettings& settings) {
  if (!std::has_single_bit(settings.denials)) {
    return base::fail(ErrorKind::input, "policy: expected a power of two of denials, got {}",
                      settings.denials);
  }
  auto enforcement = std::make_unique<TcxPolicyEnforcement>(pods, settings);
  for (const auto& node : nodes) RETURN_IF_ERROR(enforcement->load(node));
  RETURN_IF_ERROR(enforcement->map_shared());
  RETURN_IF_ERROR(
      enforcement->prepare(compile_policies({.namespaces = {}, .pods = pods, .policies = {}})));
  enforcement->commit();
  RETURN_IF_ERROR(enforcement->attach_everywhere(nodes));
  return enforcement;
}

}  // namespace cluster
