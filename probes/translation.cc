#include "probes/translation.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/bpf/bpf.h"
#include "base/file.h"
#include "probes/translation.skel.h"

namespace probes {
namespace {

static_assert(sizeof(TranslationEndpoint) == 20);
static_assert(sizeof(TranslationCounters) == 48);

constexpr std::size_t endpoints_at_most = 65536;
// Enough for every port a short run of connects uses; what does not fit is counted as lost.
constexpr std::uint32_t source_ports_kept = 8192;

TranslationEndpoint to_wire(const base::Endpoint& endpoint) {
  TranslationEndpoint wire{};
  if (endpoint.address.family == base::AddressFamily::ipv4) {
    wire.address[10] = wire.address[11] = 0xff;
    std::copy_n(endpoint.address.bytes.begin(), 4, wire.address + 12);
  } else {
    std::ranges::copy(endpoint.address.bytes, wire.address);
  }
  wire.port = endpoint.port;
  return wire;
}

base::Result<> check(const TranslationJob& job) {
  if (job.service.empty() && job.backends.empty()) {
    return base::fail(base::ErrorKind::input, "translation probe at {}: no endpoints to count",
                      job.interface);
  }
  if (job.service.size() + job.backends.size() > endpoints_at_most) {
    return base::fail(base::ErrorKind::input, "translation probe at {}: more than {} endpoints",
                      job.interface, endpoints_at_most);
  }
  const std::set<base::Endpoint> backends(job.backends.begin(), job.backends.end());
  for (const auto& service : job.service) {
    if (backends.contains(service)) {
      return base::fail(base::ErrorKind::input,
                        "translation probe at {}: {} is both Service and backend", job.interface,
                        service);
    }
  }
  return {};
}

base::Result<> fill_endpoints(int map, const std::vector<base::Endpoint>& endpoints,
                              std::uint32_t what) {
  for (const auto& endpoint : endpoints) {
    const auto key = to_wire(endpoint);
    if (::bpf_map_update_elem(map, &key, &what, BPF_ANY) != 0) {
      return base::system_error(errno, "translation probe: note {}", endpoint);
    }
  }
  return {};
}

// A tap that receives nothing until it is bound, with the filter in place by then: no packet is
// ever queued.
base::Result<base::UniqueFd> open_tap(const std::string& interface, int filter) {
  const unsigned index = ::if_nametoindex(interface.c_str());
  if (index == 0) {
    return base::fail(base::ErrorKind::input, "translation probe: no interface {} here", interface);
  }
  base::UniqueFd tap(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!tap) return base::system_error(errno, "translation probe: packet socket");
  if (::setsockopt(tap.get(), SOL_SOCKET, SO_ATTACH_BPF, &filter, sizeof(filter)) != 0) {
    return base::system_error(errno, "translation probe: attach the filter");
  }
  const int ignore_outgoing = 1;
  if (::setsockopt(tap.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &ignore_outgoing,
                   sizeof(ignore_outgoing)) != 0) {
    return base::system_error(errno, "translation probe: ignore outgoing packets");
  }
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(index);
  if (::bind(tap.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return base::system_error(errno, "translation probe: bind to {}", interface);
  }
  return tap;
}

base::Result<> sum_counters(int map, TranslationCounts& counts) {
  ASSIGN_OR_RETURN(const auto per_cpu, base::read_per_cpu<TranslationCounters>(
                                           map, "translation probe: read the counters"));
  for (const auto& cpu : per_cpu) {
    counts.packets += cpu.packets;
    counts.to_service += cpu.to_service;
    counts.to_backend += cpu.to_backend;
    counts.to_other += cpu.to_other;
    counts.unparsed += cpu.unparsed;
    counts.lost += cpu.lost;
  }
  return {};
}

base::Result<> list_source_ports(int map, TranslationCounts& counts) {
  // Ports are only ever added, so a walk that runs beside traffic misses new ones at worst.
  std::uint32_t key = 0;
  const void* previous = nullptr;
  while (::bpf_map_get_next_key(map, previous, &key) == 0) {
    std::uint32_t seen = 0;
    if (::bpf_map_lookup_elem(map, &key, &seen) != 0) {
      return base::system_error(errno, "translation probe: read source port {}", key);
    }
    const auto port = static_cast<std::uint16_t>(key);
    if (seen & translation_service) counts.service_source_ports.push_back(port);
    if (seen & translation_backend) counts.backend_source_ports.push_back(port);
    previous = &key;
  }
  if (errno != ENOENT) return base::system_error(errno, "translation probe: walk source ports");
  std::ranges::sort(counts.service_source_ports);
  std::ranges::sort(counts.backend_source_ports);
  return {};
}

// /proc/sys/net shows the network namespace of whoever opens it (proc_sys net lookup uses current).
std::optional<std::uint64_t> connection_tracking_entries() {
  const auto text = base::read_file("/proc/sys/net/netfilter/nf_conntrack_count");
  std::uint64_t count = 0;
  if (!text ||
      std::from_chars(text->data(), text->data() + text->size(), count).ec != std::errc{}) {
    return std::nullopt;
  }
  return count;
}

}  // namespace

TranslationProbe::TranslationProbe() = default;
TranslationProbe::TranslationProbe(TranslationProbe&&) noexcept = default;
TranslationProbe& TranslationProbe::operator=(TranslationProbe&&) noexcept = default;
TranslationProbe::~TranslationProbe() = default;

base::Result<TranslationProbe> TranslationProbe::attach(const TranslationJob& job) {
  RETURN_IF_ERROR(check(job));
  TranslationProbe probe;
  ASSIGN_OR_RETURN(probe.skeleton_, base::open_skeleton<translation_bpf>("translation probe"));
  auto& skeleton = *probe.skeleton_;
  skeleton.rodata->job_protocol = job.protocol == base::Protocol::TCP ? IPPROTO_TCP : IPPROTO_UDP;
  for (const auto* endpoints : {&job.service, &job.backends}) {
    for (const auto& endpoint : *endpoints) {
      skeleton.rodata->job_ports[endpoint.port >> 6] |= std::uint64_t{1} << (endpoint.port & 63);
    }
  }
  ::bpf_map__set_max_entries(skeleton.maps.endpoints,
                             static_cast<std::uint32_t>(job.service.size() + job.backends.size()));
  ::bpf_map__set_max_entries(skeleton.maps.source_ports, source_ports_kept);
  RETURN_IF_ERROR(base::load_skeleton(skeleton, "translation probe"));

  const int endpoints = ::bpf_map__fd(skeleton.maps.endpoints);
  RETURN_IF_ERROR(fill_endpoints(endpoints, job.service, translation_service));
  RETURN_IF_ERROR(fill_endpoints(endpoints, job.backends, translation_backend));
  // Without the right to count its own cost the probe still counts packets.
  if (auto statistics = base::enable_program_statistics()) {
    probe.statistics_ = std::move(*statistics);
  }
  ASSIGN_OR_RETURN(probe.tap_,
                   open_tap(job.interface, ::bpf_program__fd(skeleton.progs.count_translation)));
  return probe;
}

base::Result<TranslationCounts> TranslationProbe::read() const {
  TranslationCounts counts;
  RETURN_IF_ERROR(sum_counters(::bpf_map__fd(skeleton_->maps.counters), counts));
  RETURN_IF_ERROR(list_source_ports(::bpf_map__fd(skeleton_->maps.source_ports), counts));
  counts.connection_tracking_entries = connection_tracking_entries();
  if (statistics_) {
    ASSIGN_OR_RETURN(const auto cost,
                     base::program_cost(::bpf_program__fd(skeleton_->progs.count_translation)));
    counts.run_count = cost.run_count;
    counts.run_time_ns = cost.run_time_ns;
  }
  return counts;
}

}  // namespace probes
