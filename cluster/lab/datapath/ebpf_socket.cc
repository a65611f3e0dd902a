#include "cluster/lab/datapath/ebpf_socket.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <utility>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <netinet/in.h>

#include "base/bpf/bpf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "cluster/lab/datapath/ebpf_socket.skel.h"

namespace cluster {
namespace {

static_assert(sizeof(SocketEndpoint) == 24);
static_assert(sizeof(SocketTableEntry) == 32);
static_assert(sizeof(SocketPeer) == 32);
static_assert(sizeof(SocketFlow) == 32);
static_assert(sizeof(SocketClient) == 16);
static_assert(sizeof(SocketStay) == 32);

struct DestroyLink {
  void operator()(bpf_link* link) const { ::bpf_link__destroy(link); }
};
using UniqueLink = std::unique_ptr<bpf_link, DestroyLink>;

void write_address(const base::IpAddress& address, std::span<__u8, 16> out) {
  if (address.family == base::AddressFamily::ipv4) {
    std::ranges::fill(out, __u8{0});
    out[10] = out[11] = 0xff;
    std::copy_n(address.bytes.begin(), 4, out.begin() + 12);
  } else {
    std::ranges::copy(address.bytes, out.begin());
  }
}

SocketEndpoint to_wire(const base::Endpoint& endpoint, Protocol protocol) {
  SocketEndpoint wire{};
  write_address(endpoint.address, wire.address);
  wire.port = htons(endpoint.port);
  wire.protocol = protocol == Protocol::TCP ? IPPROTO_TCP : IPPROTO_UDP;
  return wire;
}

// The index of the bucket for this Service, or nothing when all it may be in are taken.
std::optional<std::size_t> free_bucket(const std::vector<SocketTableEntry>& entries,
                                       std::size_t buckets, const SocketEndpoint& service) {
  const std::size_t hash = socket_hash(&service);
  for (std::size_t i = 0; i < SOCKET_PROBES_AT_MOST; ++i) {
    const std::size_t place = 1 + ((hash + i) & (buckets - 1));
    if (entries[place].first == 0) return place;
  }
  return std::nullopt;
}

// The table with this many buckets, or nothing when a Service finds no place in so few.
std::optional<std::vector<SocketTableEntry>> lay_out(const ServiceTable& table,
                                                     const std::vector<DatapathNode>& nodes,
                                                     std::size_t buckets) {
  std::vector<SocketTableEntry> entries{
      {.endpoint = {}, .first = 0, .count = static_cast<__u32>(buckets)}};
  entries.resize(1 + buckets);
  for (const auto& entry : table.entries) {
    // Wherever it is dialled, the backends are the same: externalTrafficPolicy is for clients
    // outside, whom this datapath does not meet.
    for (const auto& frontend : frontends_of(entry, nodes)) {
      const auto service = to_wire(frontend, entry.protocol);
      const auto place = free_bucket(entries, buckets, service);
      if (!place) return std::nullopt;
      entries[*place] = {.endpoint = service,
                         .first = static_cast<__u32>(entries.size()),
                         .count = static_cast<__u32>(entry.backends.size())};
    }
    const auto cluster = to_wire(entry.cluster, entry.protocol);
    const bool stays = entry.affinity.count() > 0;
    for (const auto& backend : entry.backends) {
      entries.push_back({.endpoint = to_wire(backend.endpoint, entry.protocol),
                         .first = stays ? socket_hash(&cluster) : 0,
                         .count = static_cast<__u32>(entry.affinity.count())});
    }
  }
  return entries;
}

base::Result<> check(const ServiceTable& table, const std::vector<DatapathNode>& nodes) {
  std::set<std::pair<Protocol, base::Endpoint>> seen;
  for (const auto& entry : table.entries) {
    for (const auto& frontend : frontends_of(entry, nodes)) {
      if (!seen.emplace(entry.protocol, frontend).second) {
        return base::fail(base::ErrorKind::input, "ebpf_socket: two Service ports at {}/{}",
                          frontend, base::enum_name(entry.protocol));
      }
    }
    for (const auto& backend : entry.backends) {
      if (backend.endpoint.address.family != entry.cluster.address.family) {
        return base::fail(base::ErrorKind::input,
                          "ebpf_socket: Service {} at {} has a backend of the other family, {}",
                          entry.service, entry.cluster, backend.endpoint);
      }
    }
  }
  return {};
}

class EbpfSocketDatapath final : public Datapath {
 public:
  static base::Result<std::unique_ptr<Datapath>> make(const std::vector<DatapathNode>& nodes) {
    std::unique_ptr<EbpfSocketDatapath> datapath(new EbpfSocketDatapath);
    ASSIGN_OR_RETURN(datapath->skeleton_, base::open_skeleton<ebpf_socket_bpf>("ebpf_socket"));
    std::random_device random;
    datapath->skeleton_->rodata->seed = std::uint64_t{random()} << 32 | random();
    RETURN_IF_ERROR(base::load_skeleton(*datapath->skeleton_, "ebpf_socket"));
    datapath->nodes_ = nodes;
    RETURN_IF_ERROR(datapath->publish({}));
    for (const auto& node : nodes) RETURN_IF_ERROR(datapath->attach(node));
    return datapath;
  }

  base::Result<> sync(const ServiceTable& table) override {
    if (table == table_) return {};
    RETURN_IF_ERROR(publish(table));
    table_ = table;
    return {};
  }

  [[nodiscard]] base::Json facts() const override;

 private:
  EbpfSocketDatapath() = default;

  base::Result<> attach(const DatapathNode& node);
  base::Result<> publish(const ServiceTable& table);
  [[nodiscard]] std::array<bpf_program*, 8> programs() const;

  base::UniqueSkeleton<ebpf_socket_bpf> skeleton_;
  std::vector<DatapathNode> nodes_;
  std::vector<UniqueLink> links_;
  ServiceTable table_;
  std::int64_t load_ns_ = 0;      // of the last table
  std::int64_t table_bytes_ = 0;  // its elements
};

std::array<bpf_program*, 8> EbpfSocketDatapath::programs() const {
  const auto& progs = skeleton_->progs;
  return {progs.connect4, progs.connect6, progs.sendmsg4,     progs.sendmsg6,
          progs.recvmsg4, progs.recvmsg6, progs.getpeername4, progs.getpeername6};
}

base::Result<> EbpfSocketDatapath::attach(const DatapathNode& node) {
  if (node.cgroup.empty()) {
    return base::fail(base::ErrorKind::input, "ebpf_socket: {} has no cgroup to hook", node.name);
  }
  const base::UniqueFd cgroup(::open(node.cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup) return base::system_error(errno, "ebpf_socket: open {}", node.cgroup);
  for (bpf_program* program : programs()) {
    const base::BpfMessages messages;
    UniqueLink link(::bpf_program__attach_cgroup(program, cgroup.get()));
    if (!link) {
      const int code = errno;
      auto failed = messages.error(code, fmt::format("ebpf_socket: attach {} to {}",
                                                     ::bpf_program__name(program), node.cgroup));
      if (code == EBADF) {
        failed.error().kind = base::ErrorKind::missing;
        failed.error().mend =
            "The directory must be in a cgroup2 hierarchy; see `stackbench doctor`.";
      }
      return failed;
    }
    links_.push_back(std::move(link));
  }
  return {};
}

base::Result<> EbpfSocketDatapath::publish(const ServiceTable& table) {
  const auto begun = base::monotonic_now();
  RETURN_IF_ERROR(check(table, nodes_));
  auto buckets = std::bit_ceil(2 * table.entries.size() + 1);
  auto entries = lay_out(table, nodes_, buckets);
  while (!entries) entries = lay_out(table, nodes_, buckets *= 2);

  bpf_map_create_opts options{};
  options.sz = sizeof(options);
  options.map_flags = BPF_F_INNER_MAP;
  auto count = static_cast<__u32>(entries->size());
  const base::UniqueFd fresh(::bpf_map_create(BPF_MAP_TYPE_ARRAY, "service_table", sizeof(__u32),
                                              sizeof(SocketTableEntry), count, &options));
  if (!fresh) return base::system_error(errno, "ebpf_socket: make a table of {} entries", count);
  std::vector<__u32> indexes(entries->size());
  std::iota(indexes.begin(), indexes.end(), 0U);
  if (::bpf_map_update_batch(fresh.get(), indexes.data(), entries->data(), &count, nullptr) != 0) {
    return base::system_error(errno, "ebpf_socket: fill a table of {} entries", entries->size());
  }
  // Returns after a grace period (kernel/bpf/syscall.c, maybe_wait_bpf_programs): then no program
  // is left that runs on the table that was there before.
  const __u32 first = 0;
  const int table_fd = fresh.get();
  if (::bpf_map_update_elem(::bpf_map__fd(skeleton_->maps.tables), &first, &table_fd, BPF_ANY) !=
      0) {
    return base::system_error(errno, "ebpf_socket: publish a table");
  }
  // Only now: whoever sees the new number started after the swap and so sees the new table.
  std::atomic_ref(skeleton_->bss->generation).fetch_add(1);
  load_ns_ = (base::monotonic_now() - begun).count();
  table_bytes_ = static_cast<std::int64_t>(entries->size() * sizeof(SocketTableEntry));
  return {};
}

base::Json EbpfSocketDatapath::facts() const {
  std::size_t backends = 0;
  for (const auto& entry : table_.entries) backends += entry.backends.size();
  base::Json hooks = base::Json::object();
  for (const bpf_program* program : programs()) {
    if (const auto cost = base::program_cost(::bpf_program__fd(program))) {
      hooks[::bpf_program__name(program)] = {{"run_count", cost->run_count},
                                             {"run_time_ns", cost->run_time_ns}};
    }
  }
  return {{"attached_to", "cgroup2"},
          {"links", links_.size()},
          {"libbpf", fmt::format("{}.{}", ::libbpf_major_version(), ::libbpf_minor_version())},
          {"service_ports", table_.entries.size()},
          {"backends", backends},
          {"load_ns", load_ns_},
          {"kernel_memory_bytes", table_bytes_},
          {"sockets_remembered", SOCKETS_REMEMBERED},
          {"hooks", std::move(hooks)}};
}

}  // namespace

base::Result<std::unique_ptr<Datapath>> make_ebpf_socket_datapath(
    const std::vector<DatapathNode>& nodes) {
  return EbpfSocketDatapath::make(nodes);
}

}  // namespace cluster
