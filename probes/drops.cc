#include "probes/drops.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <netinet/in.h>

#include "base/file.h"
#include "probes/drops.skel.h"

namespace probes {
namespace {

static_assert(sizeof(DropRecord) == 64);

constexpr std::size_t endpoints_at_most = 65536;
constexpr std::string_view reason_prefix = "SKB_DROP_REASON_";

struct MapKey {
  __u8 address[16];
  __u16 port;
  __u16 reserved;
};

MapKey key_of(const base::Endpoint& endpoint) {
  MapKey key{};
  if (endpoint.address.family == base::AddressFamily::ipv4) {
    key.address[10] = key.address[11] = 0xff;
    std::copy_n(endpoint.address.bytes.begin(), 4, key.address + 12);
  } else {
    std::ranges::copy(endpoint.address.bytes, key.address);
  }
  key.port = endpoint.port;
  return key;
}

base::Endpoint endpoint_of(const __u8 (&address)[16], std::uint16_t port) {
  constexpr std::array<__u8, 12> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  base::Endpoint endpoint{.address = {}, .port = port};
  if (std::equal(mapped.begin(), mapped.end(), address)) {
    endpoint.address.family = base::AddressFamily::ipv4;
    std::copy_n(address + 12, 4, endpoint.address.bytes.begin());
  } else {
    endpoint.address.family = base::AddressFamily::ipv6;
    std::copy_n(address, 16, endpoint.address.bytes.begin());
  }
  return endpoint;
}

// The running kernel's names of enum skb_drop_reason: numbers differ from version to version.
base::Result<std::map<std::uint32_t, std::string>> reason_names() {
  const base::BpfMessages messages;
  const std::unique_ptr<btf, decltype(&::btf__free)> types(::btf__load_vmlinux_btf(), ::btf__free);
  if (!types) return messages.error(errno, "drop probe: the kernel's type information");
  const int id = ::btf__find_by_name_kind(types.get(), "skb_drop_reason", BTF_KIND_ENUM);
  if (id < 0) {
    return base::fail(base::ErrorKind::missing,
                      "drop probe: this kernel names no reasons (it has since Linux 5.17)");
  }
  const auto* type = ::btf__type_by_id(types.get(), static_cast<std::uint32_t>(id));
  const auto* entry = btf_enum(type);
  std::map<std::uint32_t, std::string> names;
  for (int i = 0; i < btf_vlen(type); ++i, ++entry) {
    std::string_view name = ::btf__name_by_offset(types.get(), entry->name_off);
    if (name.starts_with(reason_prefix)) name.remove_prefix(reason_prefix.size());
    names.emplace(static_cast<std::uint32_t>(entry->val), name);
  }
  return names;
}

// Functions by where they begin; empty where addresses are hidden (kernel.kptr_restrict).
std::map<std::uint64_t, std::string> kernel_functions() {
  std::map<std::uint64_t, std::string> functions;
  const auto text = base::read_file("/proc/kallsyms");
  if (!text) return functions;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    // "ffffffff81000000 T _text", then a tab and a module's name.
    constexpr std::size_t name_at = 19;
    std::uint64_t address = 0;
    if (line.size() <= name_at ||
        std::from_chars(line.data(), line.data() + 16, address, 16).ec != std::errc{}) {
      continue;
    }
    const char type = line[17];
    if (address == 0 || (type != 't' && type != 'T')) continue;
    functions.emplace(address, line.substr(name_at, line.find('\t') - name_at));
  }
  return functions;
}

std::string function_at(const std::map<std::uint64_t, std::string>& functions,
                        std::uint64_t address) {
  const auto after = functions.upper_bound(address);
  return after == functions.begin() ? std::string() : std::prev(after)->second;
}

}  // namespace

DropsProbe::DropsProbe() = default;
DropsProbe::DropsProbe(DropsProbe&&) noexcept = default;
DropsProbe& DropsProbe::operator=(DropsProbe&&) noexcept = default;
DropsProbe::~DropsProbe() = default;

base::Result<DropsProbe> DropsProbe::attach(const DropsJob& job) {
  if (job.endpoints.empty() || job.endpoints.size() > endpoints_at_most) {
    return base::fail(base::ErrorKind::input, "drop probe: expected 1 to {} endpoints, got {}",
                      endpoints_at_most, job.endpoints.size());
  }
  ASSIGN_OR_RETURN(const auto names, reason_names());
  DropsProbe probe;
  ASSIGN_OR_RETURN(probe.skeleton_, base::open_skeleton<drops_bpf>("drop probe"));
  auto& skeleton = *probe.skeleton_;
  const auto purged =
      std::ranges::find(names, "QUEUE_PURGE", [](const auto& name) { return name.second; });
  if (purged != names.end()) skeleton.rodata->purged = purged->first;
  ::bpf_map__set_max_entries(skeleton.maps.endpoints,
                             static_cast<std::uint32_t>(job.endpoints.size()));
  RETURN_IF_ERROR(base::load_skeleton(skeleton, "drop probe"));
  for (const auto& endpoint : job.endpoints) {
    const auto key = key_of(endpoint);
    const std::uint32_t present = 1;
    if (::bpf_map_update_elem(::bpf_map__fd(skeleton.maps.endpoints), &key, &present, BPF_ANY) !=
        0) {
      return base::system_error(errno, "drop probe: note {}", endpoint);
    }
  }
  const base::BpfMessages messages;
  if (const int code = drops_bpf::attach(&skeleton); code != 0) {
    return messages.error(code, "drop probe: attach to kfree_skb");
  }
  return probe;
}

// How far this process' CLOCK_MONOTONIC is ahead of the kernel's, by which an eBPF program stamps:
// of one in a time namespace they differ.
std::int64_t ahead_of_kernel() {
  std::istringstream lines(base::read_file("/proc/self/timens_offsets").value_or(""));
  std::string clock;
  std::int64_t seconds = 0;
  std::int64_t rest = 0;
  while (lines >> clock >> seconds >> rest) {
    if (clock == "monotonic") return seconds * 1'000'000'000 + rest;
  }
  return 0;
}

base::Result<Drops> DropsProbe::take() {
  std::vector<DropRecord> records;
  const auto keep = [](void* to, void* data, std::size_t size) {
    DropRecord record{};
    std::memcpy(&record, data, std::min(size, sizeof record));
    static_cast<std::vector<DropRecord>*>(to)->push_back(record);
    return 0;
  };
  const std::unique_ptr<ring_buffer, decltype(&::ring_buffer__free)> ring(
      ::ring_buffer__new(::bpf_map__fd(skeleton_->maps.records), keep, &records, nullptr),
      ::ring_buffer__free);
  if (!ring) return base::system_error(errno, "drop probe: open the records");
  if (const int code = ::ring_buffer__consume(ring.get()); code < 0) {
    return base::system_error(-code, "drop probe: read the records");
  }
  Drops found{.drops = {},
              .lost = std::atomic_ref(skeleton_->bss->lost).load() - lost_before_,
              .unparsed = std::atomic_ref(skeleton_->bss->unparsed).load() - unparsed_before_};
  lost_before_ += found.lost;
  unparsed_before_ += found.unparsed;
  if (records.empty()) return found;
  std::ranges::sort(records, {}, &DropRecord::time_ns);
  ASSIGN_OR_RETURN(const auto names, reason_names());
  const auto functions = kernel_functions();
  const auto ahead = ahead_of_kernel();
  for (const auto& record : records) {
    const auto name = names.find(record.reason);
    found.drops.push_back(
        {.time_ns = static_cast<std::int64_t>(record.time_ns) + ahead,
         .reason = name == names.end() ? std::to_string(record.reason) : name->second,
         .where = function_at(functions, record.location),
         .from = endpoint_of(record.source, record.source_port),
         .to = endpoint_of(record.destination, record.destination_port),
         .protocol = record.protocol == IPPROTO_TCP ? base::Protocol::TCP : base::Protocol::UDP,
         .netns = record.netns});
  }
  return found;
}

}  // namespace probes
