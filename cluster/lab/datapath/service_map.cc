#include "cluster/lab/datapath/service_map.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>

#include "base/fd.h"

namespace cluster {
namespace {

static_assert(sizeof(ServiceEndpoint) == 24);
static_assert(sizeof(ServiceMapEntry) == 32);
static_assert(sizeof(ServiceClient) == 24);
static_assert(sizeof(ServiceStay) == 32);

// The index of the bucket for this Service, or nothing when all it may be in are taken.
std::optional<std::size_t> free_bucket(const std::vector<ServiceMapEntry>& entries,
                                       std::size_t buckets, const ServiceEndpoint& service) {
  const std::size_t hash = service_hash(&service);
  for (std::size_t i = 0; i < SERVICE_PROBES_AT_MOST; ++i) {
    const std::size_t place = 1 + ((hash + i) & (buckets - 1));
    if (entries[place].first == 0) return place;
  }
  return std::nullopt;
}

ServiceMapEntry backend_entry(const OfferedPort& port, const Backend& backend) {
  const auto cluster = to_wire(port.entry->cluster, port.entry->protocol);
  const auto stay = port.entry->affinity.count();
  const bool here = !port.here.empty() && backend.node == port.here;
  return {.endpoint = to_wire(backend.endpoint, port.entry->protocol),
          .first = stay > 0 ? service_hash(&cluster) : 0,
          .count = static_cast<__u32>(stay) | (here ? BACKEND_IS_HERE : 0)};
}

// The table with this many buckets, or nothing when a Service finds no place in so few.
std::optional<std::vector<ServiceMapEntry>> lay_out(const std::vector<OfferedPort>& ports,
                                                    std::size_t buckets) {
  std::vector<ServiceMapEntry> entries{
      {.endpoint = {}, .first = 0, .count = static_cast<__u32>(buckets)}};
  entries.resize(1 + buckets);
  for (const auto& port : ports) {
    for (const auto& frontend : port.frontends) {
      const auto service = to_wire(frontend, port.entry->protocol);
      const auto place = free_bucket(entries, buckets, service);
      if (!place) return std::nullopt;
      entries[*place] = {
          .endpoint = service,
          .first = static_cast<__u32>(entries.size()),
          .count = port.drops ? SERVICE_DROPS : static_cast<__u32>(port.backends.size())};
    }
    for (const auto& backend : port.backends) entries.push_back(backend_entry(port, backend));
  }
  return entries;
}

}  // namespace

void write_address(const base::IpAddress& address, std::span<__u8, 16> out) {
  if (address.family == base::AddressFamily::ipv4) {
    std::ranges::fill(out, __u8{0});
    out[10] = out[11] = 0xff;
    std::copy_n(address.bytes.begin(), 4, out.begin() + 12);
  } else {
    std::ranges::copy(address.bytes, out.begin());
  }
}

ServiceEndpoint to_wire(const base::Endpoint& endpoint, Protocol protocol) {
  ServiceEndpoint wire{};
  write_address(endpoint.address, wire.address);
  wire.port = htons(endpoint.port);
  wire.protocol = protocol == Protocol::TCP ? IPPROTO_TCP : IPPROTO_UDP;
  return wire;
}

std::vector<OfferedPort> offered_inside(const ServiceTable& table,
                                        const std::vector<DatapathNode>& nodes) {
  std::vector<OfferedPort> ports;
  ports.reserve(table.entries.size());
  for (const auto& entry : table.entries) {
    ports.push_back(
        {.entry = &entry, .frontends = frontends_of(entry, nodes), .backends = entry.backends});
  }
  return ports;
}

std::vector<OfferedPort> offered_outside(const ServiceTable& table, const DatapathNode& node) {
  std::vector<OfferedPort> ports;
  for (const auto& entry : table.entries) {
    if (!is_external(entry)) continue;
    auto frontends = frontends_of(entry, {node});
    frontends.erase(frontends.begin());  // the ClusterIP, which is not routed outside
    OfferedPort port{
        .entry = &entry,
        .frontends = std::move(frontends),
        .backends = entry.external_local ? backends_on(entry, node.name) : entry.backends,
        .here = node.name};
    port.drops = port.backends.empty() && !entry.backends.empty();
    ports.push_back(std::move(port));
  }
  return ports;
}

base::Result<> check_services(std::string_view datapath, const ServiceTable& table,
                              const std::vector<DatapathNode>& nodes) {
  std::set<std::pair<Protocol, base::Endpoint>> seen;
  for (const auto& entry : table.entries) {
    for (const auto& frontend : frontends_of(entry, nodes)) {
      if (!seen.emplace(entry.protocol, frontend).second) {
        return base::fail(base::ErrorKind::input, "{}: two Service ports at {}/{}", datapath,
                          frontend, base::enum_name(entry.protocol));
      }
    }
    for (const auto& backend : entry.backends) {
      if (backend.endpoint.address.family != entry.cluster.address.family) {
        return base::fail(base::ErrorKind::input,
                          "{}: Service {} at {} has a backend of the other family, {}", datapath,
                          entry.service, entry.cluster, backend.endpoint);
      }
    }
  }
  return {};
}

base::Result<std::int64_t> publish_services(int tables, __u32 index,
                                            const std::vector<OfferedPort>& ports) {
  auto buckets = std::bit_ceil(2 * ports.size() + 1);
  auto entries = lay_out(ports, buckets);
  while (!entries) entries = lay_out(ports, buckets *= 2);

  bpf_map_create_opts options{};
  options.sz = sizeof(options);
  options.map_flags = BPF_F_INNER_MAP;
  auto count = static_cast<__u32>(entries->size());
  const base::UniqueFd fresh(::bpf_map_create(BPF_MAP_TYPE_ARRAY, "service_table", sizeof(__u32),
                                              sizeof(ServiceMapEntry), count, &options));
  if (!fresh) return base::system_error(errno, "make a table of {} entries", count);
  std::vector<__u32> indexes(entries->size());
  std::iota(indexes.begin(), indexes.end(), 0U);
  if (::bpf_map_update_batch(fresh.get(), indexes.data(), entries->data(), &count, nullptr) != 0) {
    return base::system_error(errno, "fill a table of {} entries", entries->size());
  }
  // Returns after a grace period (kernel/bpf/syscall.c, maybe_wait_bpf_programs): then no program
  // is left that runs on the table that was there before.
  const int table_fd = fresh.get();
  if (::bpf_map_update_elem(tables, &index, &table_fd, BPF_ANY) != 0) {
    return base::system_error(errno, "publish a table");
  }
  return static_cast<std::int64_t>(entries->size() * sizeof(ServiceMapEntry));
}

}  // namespace cluster
