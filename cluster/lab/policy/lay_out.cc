// Compiled tables as one array (policy_table.h).
#include <bit>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "cluster/lab/policy/compile.h"

namespace cluster {
namespace {

// The hash table of pairs; nothing where one has no place near its hash.
std::optional<std::vector<PolicyEntry>> lay_out_pairs(const std::vector<PolicyEntry>& pairs,
                                                      std::size_t buckets) {
  std::vector<PolicyEntry> table(buckets);
  for (const auto& pair : pairs) {
    const std::size_t hash = policy_hash(pair.high);
    std::size_t probe = 0;
    while (probe < POLICY_PROBES_AT_MOST && table[(hash + probe) & (buckets - 1)].high != 0) {
      ++probe;
    }
    if (probe == POLICY_PROBES_AT_MOST) return std::nullopt;
    table[(hash + probe) & (buckets - 1)] = pair;
  }
  return table;
}

}  // namespace

std::vector<PolicyEntry> lay_out(const PolicyTables& tables, std::uint32_t generation) {
  std::vector<PolicyEntry> entries(policy_headers);
  entries[policy_generation].high = generation;
  const auto place = [&](PolicyHeader header, std::size_t count) {
    entries[header].high = std::bit_floor(count);
    entries[header].first = static_cast<__u32>(entries.size());
    entries[header].second = static_cast<__u32>(count);
  };
  place(policy_pods, tables.pods.size());
  for (const auto& pod : tables.pods) {
    entries.push_back({.high = __u64{pod.ingress} << 32 | pod.egress,
                       .low = __u64{pod.class_ipv4} << 32 | pod.class_ipv6,
                       .first = 0,
                       .second = 0});
  }
  place(policy_addresses, tables.pods.size());
  for (const auto& pod : tables.pods) {
    entries.push_back({.high = pod.ipv6.high,
                       .low = pod.ipv6.low,
                       .first = static_cast<__u32>(pod.ipv4.low),
                       .second = 0});
  }
  for (const auto& [header, spans] : {std::pair{policy_spans_ipv4, &tables.spans_ipv4},
                                      std::pair{policy_spans_ipv6, &tables.spans_ipv6}}) {
    place(header, spans->size());
    for (const auto& span : *spans) {
      entries.push_back(
          {.high = span.first.high, .low = span.first.low, .first = span.in_class, .second = 0});
    }
  }
  // Rules of one shape share their ranges.
  std::map<std::vector<ServiceRange>, __u32> ranges_at;
  std::vector<PolicyEntry> pairs;
  for (const auto& [pair, ranges] : tables.allowed) {
    const auto [found, is_new] = ranges_at.try_emplace(ranges, static_cast<__u32>(entries.size()));
    for (const auto& range : ranges) {
      if (is_new)
        entries.push_back({.high = 0, .low = range.first, .first = range.last, .second = 0});
    }
    pairs.push_back({.high = __u64{pair.first} << 32 | pair.second,
                     .low = 0,
                     .first = found->second,
                     .second = static_cast<__u32>(ranges.size())});
  }
  auto buckets = std::bit_ceil(2 * pairs.size() + 1);
  auto hashed = lay_out_pairs(pairs, buckets);
  while (!hashed) hashed = lay_out_pairs(pairs, buckets *= 2);
  place(policy_pairs, hashed->size());
  entries.insert(entries.end(), hashed->begin(), hashed->end());
  return entries;
}

}  // namespace cluster
