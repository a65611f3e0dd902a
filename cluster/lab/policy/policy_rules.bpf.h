// The rules in force, as programs look things up in them (policy_table.h). Included by eBPF
// programs alone, after the kernel's types.
#pragma once

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "cluster/lab/policy/policy_table.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __type(key, __u32);
  __type(value, struct PolicySwitch);
  __uint(max_entries, 1);
} policy_switch SEC(".maps");

struct policy_table {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_INNER_MAP);  // sizes may differ from one to the next
  __uint(key_size, sizeof(__u32));
  __uint(value_size, sizeof(struct PolicyEntry));
  __uint(max_entries, 1);
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __type(key, __u32);
  __uint(max_entries, POLICY_TABLES);
  __array(values, struct policy_table);
} policy_tables SEC(".maps");

static __always_inline __u32 current_generation(void) {
  __u32 zero = 0;
  struct PolicySwitch *in_force = bpf_map_lookup_elem(&policy_switch, &zero);
  return in_force ? *(volatile __u32 *)&in_force->generation : 0;
}

static __always_inline struct PolicyEntry *entry_at(__u32 generation, __u32 index) {
  __u32 slot = generation % POLICY_TABLES;
  void *table = bpf_map_lookup_elem(&policy_tables, &slot);
  if (!table) return 0;
  return bpf_map_lookup_elem(table, &index);
}

// Looks for the last entry that is not above (high, low); the state of bpf_loop.
struct PolicySearch {
  __u64 high;
  __u64 low;
  __u32 generation;
  __u32 first;
  __u32 count;
  __u32 step;
  __u32 at;
};

static long halve(__u32 index, struct PolicySearch *search) {
  const __u32 next = search->at + search->step;
  if (search->step == 0) return 1;
  search->step /= 2;
  if (next >= search->count) return 0;
  struct PolicyEntry *entry = entry_at(search->generation, search->first + next);
  if (entry &&
      (entry->high < search->high || (entry->high == search->high && entry->low <= search->low))) {
    search->at = next;
  }
  return 0;
}

static __always_inline int is_ipv4(const __u8 *address) {
  return ((const __u64 *)address)[0] == 0 && ((const __u32 *)address)[2] == bpf_htonl(0xffff);
}

struct PolicyAddress {
  __u8 bytes[16];
};

__noinline __u32 class_of(const struct PolicyAddress *address, __u32 generation) {
  if (!address) return POLICY_EVERYBODY;
  const __u64 *words = (const __u64 *)address->bytes;
  const int ipv4 = is_ipv4(address->bytes);
  struct PolicyEntry *spans = entry_at(generation, ipv4 ? policy_spans_ipv4 : policy_spans_ipv6);
  if (!spans) return POLICY_EVERYBODY;
  struct PolicySearch search = {
      .high = ipv4 ? 0 : bpf_be64_to_cpu(words[0]),
      .low = ipv4 ? bpf_ntohl(((const __u32 *)address->bytes)[3]) : bpf_be64_to_cpu(words[1]),
      .generation = generation,
      .first = spans->first,
      .count = spans->second,
      .step = (__u32)spans->high};
  bpf_loop(POLICY_HALVINGS_AT_MOST, halve, &search, 0);
  struct PolicyEntry *span = entry_at(generation, search.first + search.at);
  return span ? span->first : POLICY_EVERYBODY;
}

// Whether a rule set allows a class of peers this service (protocol << 16 | port).
__noinline int permits(__u32 generation, __u32 rules, __u32 class, __u32 service) {
  struct PolicyEntry *pairs = entry_at(generation, policy_pairs);
  if (!pairs) return 0;
  const __u32 first = pairs->first, mask = pairs->second - 1;
  const __u64 wanted = (__u64)rules << 32 | class;
  const __u32 hash = policy_hash(wanted);
  struct PolicySearch search = {.low = service, .generation = generation};
  for (__u32 i = 0; i < POLICY_PROBES_AT_MOST; ++i) {
    struct PolicyEntry *pair = entry_at(generation, first + ((hash + i) & mask));
    if (!pair || pair->high == 0) return 0;
    if (pair->high != wanted) continue;
    search.first = pair->first;
    search.count = pair->second;
    break;
  }
  if (search.count == 0) return 0;
  // Its power of two, from its count.
  search.step = search.count;
  search.step |= search.step >> 1;
  search.step |= search.step >> 2;
  search.step |= search.step >> 4;
  search.step |= search.step >> 8;
  search.step |= search.step >> 16;
  search.step -= search.step >> 1;
  bpf_loop(POLICY_HALVINGS_AT_MOST, halve, &search, 0);
  struct PolicyEntry *range = entry_at(generation, search.first + search.at);
  return range && range->low <= service && service <= range->first;
}

// What a verdict depends on, in the sense of who began it.
struct PolicyFlow {
  struct ConnectionTuple tuple;
  struct PolicyAddress origin;
  __u32 source_pod;
  __u32 target_pod;
};

static __always_inline struct PolicyEntry *pod_entry(__u32 generation, __u32 pod) {
  struct PolicyEntry *pods = entry_at(generation, policy_pods);
  if (!pods || pod >= pods->second) return 0;
  return entry_at(generation, pods->first + pod);
}

// Whether a pod has an address.
__noinline int has_address(__u32 generation, __u32 pod, const struct PolicyAddress *address) {
  if (!address) return 0;
  struct PolicyEntry *all = entry_at(generation, policy_addresses);
  if (!all || pod >= all->second) return 0;
  struct PolicyEntry *its = entry_at(generation, all->first + pod);
  if (!its) return 0;
  const __u64 *words = (const __u64 *)address->bytes;
  if (is_ipv4(address->bytes)) {
    return its->first == bpf_ntohl(((const __u32 *)address->bytes)[3]);
  }
  return its->high == bpf_be64_to_cpu(words[0]) && its->low == bpf_be64_to_cpu(words[1]);
}

__noinline int evaluate(struct PolicyFlow *flow, __u32 generation) {
  if (!flow) return policy_denies_ingress;
  const __u32 source = flow->source_pod, target = flow->target_pod;
  if (source == target && source) return policy_allows;
  const __u32 service = (__u32)flow->tuple.protocol << 16 | bpf_ntohs(flow->tuple.destination_port);
  __u32 source_class = POLICY_EVERYBODY;
  if (source) {
    struct PolicyEntry *pod = pod_entry(generation, source);
    if (!pod) return policy_denies_egress;
    source_class = (__u32)(is_ipv4(flow->tuple.destination) ? pod->low >> 32 : pod->low);
    const __u32 rules = (__u32)pod->high;
    if (rules && !permits(generation, rules, POLICY_EVERYBODY, service)) {
      struct PolicyAddress peer;
      __builtin_memcpy(peer.bytes, flow->tuple.destination, 16);
      if (!permits(generation, rules, class_of(&peer, generation), service)) {
        return policy_denies_egress;
      }
    }
  }
  if (target) {
    struct PolicyEntry *pod = pod_entry(generation, target);
    if (!pod) return policy_denies_ingress;
    const __u32 rules = (__u32)(pod->high >> 32);
    if (rules && !permits(generation, rules, POLICY_EVERYBODY, service)) {
      if (!source) source_class = class_of(&flow->origin, generation);
      if (!permits(generation, rules, source_class, service)) return policy_denies_ingress;
    }
  }
  return policy_allows;
}
