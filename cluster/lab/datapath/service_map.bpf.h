// The kernel side of service_map.h: the tables in use, and how a program looks a Service up and
// chooses its backend. Included after vmlinux.h and libbpf's headers.
#pragma once

#include "cluster/lab/datapath/service_map.h"

// A table in use is never written after it is published: a sync fills a new one and swaps it in,
// and a program that runs meanwhile finishes on the old one (the kernel frees an inner map after an
// RCU grace period). So no Service is ever missing or half there.
struct service_table {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_INNER_MAP);  // sizes may differ from one to the next
  __uint(key_size, sizeof(__u32));
  __uint(value_size, sizeof(struct ServiceMapEntry));
  __uint(max_entries, 1);
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __type(key, __u32);
  __uint(max_entries, service_tables);
  __array(values, struct service_table);
} tables SEC(".maps");

// Grows by one after each publication. A choice made under the current number needs no second look.
volatile __u32 generation = 0;

// (client, Service) -> the backend it stays with.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __type(key, struct ServiceClient);
  __type(value, struct ServiceStay);
  __uint(max_entries, STAYS_REMEMBERED);
} stays SEC(".maps");

static __always_inline int same(const struct ServiceEndpoint *a, const struct ServiceEndpoint *b) {
  const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;
  return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

static __always_inline void *current_table(__u32 which) {
  return bpf_map_lookup_elem(&tables, &which);
}

// The entry of a Service, or null. The buckets follow the first entry, which says how many.
static __always_inline struct ServiceMapEntry *find(void *table,
                                                    const struct ServiceEndpoint *peer) {
  __u32 zero = 0;
  struct ServiceMapEntry *header = bpf_map_lookup_elem(table, &zero);
  if (!header) return 0;
  __u32 mask = header->count - 1;
  __u32 hash = service_hash(peer);
  for (__u32 i = 0; i < SERVICE_PROBES_AT_MOST; ++i) {
    __u32 place = 1 + ((hash + i) & mask);
    struct ServiceMapEntry *entry = bpf_map_lookup_elem(table, &place);
    if (!entry || entry->first == 0) return 0;
    if (same(&entry->endpoint, peer)) return entry;
  }
  return 0;
}

// Searches the backends of one Service; the state of bpf_loop.
struct Search {
  void *table;
  __u32 first;
  __u32 found;  // where it is; 0: nowhere
  struct ServiceEndpoint wanted;
};

static long search_backend(__u32 index, struct Search *search) {
  __u32 place = search->first + index;
  struct ServiceMapEntry *backend = bpf_map_lookup_elem(search->table, &place);
  if (!backend || !same(&backend->endpoint, &search->wanted)) return 0;
  search->found = place;
  return 1;
}

// The entry of one of the Service's backends, or null when it is none of them.
static __always_inline struct ServiceMapEntry *find_backend(void *table,
                                                            const struct ServiceMapEntry *service,
                                                            const struct ServiceEndpoint *backend) {
  struct Search search = {.table = table, .first = service->first, .wanted = *backend};
  if (service->count == SERVICE_DROPS) return 0;
  bpf_loop(service->count, search_backend, &search, 0);
  if (search.found == 0) return 0;
  return bpf_map_lookup_elem(table, &search.found);
}

// One of the Service's backends, by 32 random bits: multiply and shift maps them onto the backends
// without a division. Null only where there is none.
static __always_inline struct ServiceMapEntry *draw_backend(void *table,
                                                            const struct ServiceMapEntry *service,
                                                            __u32 random) {
  __u32 place = service->first + (__u32)(((__u64)random * service->count) >> 32);
  return bpf_map_lookup_elem(table, &place);
}

// Under sessionAffinity ClientIP: the backend this client was sent to last, where that is not too
// long ago and the Service still has it, in place of `drawn`, which it otherwise stays with. The
// caller gives the client; without affinity `drawn` is what comes back.
static __always_inline struct ServiceMapEntry *stay(struct ServiceClient *client, void *table,
                                                    const struct ServiceMapEntry *service,
                                                    struct ServiceMapEntry *drawn) {
  const __u64 seconds = drawn->count & ~BACKEND_IS_HERE;
  if (seconds == 0) return drawn;
  client->service = drawn->first;
  struct ServiceMapEntry *chosen = drawn;
  struct ServiceStay now = {.used_ns = bpf_ktime_get_ns()};
  struct ServiceStay *before = bpf_map_lookup_elem(&stays, client);
  if (before && now.used_ns - before->used_ns < seconds * 1000000000ULL) {
    struct ServiceMapEntry *kept = find_backend(table, service, &before->backend);
    if (kept) chosen = kept;
  }
  now.backend = chosen->endpoint;
  // Where there is no room, the client is drawn anew the next time.
  bpf_map_update_elem(&stays, client, &now, BPF_ANY);
  return chosen;
}
