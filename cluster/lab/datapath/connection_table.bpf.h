// The kernel side of connection_table.h, included after vmlinux.h and libbpf's headers.
#pragma once

#include "cluster/lab/datapath/connection_table.h"

// ConnectionTableSettings.
const volatile __u32 connections_at_most = 1;
const volatile __u64 opening_ns = 0;
const volatile __u64 established_ns = 0;
const volatile __u64 closing_ns = 0;
const volatile __u64 closed_ns = 0;
const volatile __u64 datagrams_ns = 0;
const volatile __u64 datagrams_answered_ns = 0;
const volatile __u32 first_source_port = 0;
const volatile __u32 source_ports = 1;

// Sizes are set between open and load.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __type(key, __u32);
  __type(value, struct Connection);
  __uint(max_entries, 1);
} connections SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __type(key, struct ConnectionTuple);
  __type(value, struct ConnectionPlace);
  __uint(max_entries, 2);
} connection_keys SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __type(key, __u32);
  __type(value, struct ConnectionCounters);
  __uint(max_entries, 1);
} connection_counters SEC(".maps");

// The next slot to be searched, counted on for ever.
static volatile __u32 connection_hand = 0;

#define SOURCE_PORTS_TRIED 64
#define SLOT_TRIES 4

#define COUNT_CONNECTIONS(what)                                                               \
  do {                                                                                        \
    __u32 zero_ = 0;                                                                          \
    struct ConnectionCounters *counters_ = bpf_map_lookup_elem(&connection_counters, &zero_); \
    if (counters_) ++counters_->what;                                                         \
  } while (0)

// A connection as one moment had it, seen from one of its packets.
struct FoundConnection {
  struct ConnectionTuple other;  // the other direction's packet
  __u64 used_ns;
  __u32 slot;
  __u32 version;
  __u32 state;
  __u32 generation;
  __u32 flags;
  __u32 is_reply;
};

static __always_inline int same_tuple(const struct ConnectionTuple *a,
                                      const struct ConnectionTuple *b) {
  const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;
  return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] && x[4] == y[4];
}

// The version, read after everything before. x86 does not reorder loads (Intel SDM, 8.2.2; AMD APM
// 2, 7.2), so that it is the compiler alone who must not; elsewhere a locked operation is a
// barrier.
static __always_inline __u32 version_again(struct Connection *connection) {
#ifdef __TARGET_ARCH_x86
  asm volatile("" ::: "memory");
  return *(volatile __u32 *)&connection->version;
#else
  return __sync_fetch_and_or(&connection->version, 0);
#endif
}

// The connection this packet belongs to; 0 when there is none.
static __always_inline int find_connection(const struct ConnectionTuple *packet,
                                           struct FoundConnection *found) {
  struct ConnectionPlace *place = bpf_map_lookup_elem(&connection_keys, packet);
  if (!place) return 0;
  found->slot = place->slot;
  found->is_reply = place->is_reply;
  struct Connection *connection = bpf_map_lookup_elem(&connections, &found->slot);
  if (!connection) return 0;
  found->version = *(volatile __u32 *)&connection->version;
  if (found->version & 1) return 0;
  if (found->is_reply) {
    if (!same_tuple(&connection->reply, packet)) return 0;
    found->other = connection->forward;
  } else {
    if (!same_tuple(&connection->forward, packet)) return 0;
    found->other = connection->reply;
  }
  found->used_ns = connection->used_ns;
  found->state = connection->state;
  found->generation = connection->generation;
  found->flags = connection->flags;
  return found->state != 0 && version_again(connection) == found->version;
}

// Both sides have said goodbye, or one hung up.
static __always_inline int is_closed(__u32 state) {
  const __u32 both = connection_client_finished | connection_backend_finished;
  return (state & connection_reset) || (state & both) == both;
}

static __always_inline __u64 patience(__u32 state, __u8 protocol) {
  if (protocol != IPPROTO_TCP) {
    return state & connection_answered ? datagrams_answered_ns : datagrams_ns;
  }
  if (is_closed(state)) return closed_ns;
  if (state & (connection_client_finished | connection_backend_finished)) return closing_ns;
  return state & connection_answered ? established_ns : opening_ns;
}

// Whether nobody has used it for too long. CPUs' coarse clocks agree but for a tick.
static __always_inline int is_expired(__u32 state, __u8 protocol, __u64 used_ns, __u64 now) {
  return now > used_ns && now - used_ns > patience(state, protocol);
}

// Notes a packet of a connection. `bits` are of ConnectionState.
static __always_inline void use_connection(const struct FoundConnection *found, __u32 bits,
                                           __u64 now) {
  if (found->used_ns == now && (found->state & bits) == bits) return;
  struct Connection *connection = bpf_map_lookup_elem(&connections, &found->slot);
  if (!connection) return;
  connection->used_ns = now;
  if ((found->state & bits) != bits) __sync_fetch_and_or(&connection->state, bits);
}

static __always_inline int hold_slot(struct Connection *connection, __u32 version) {
  return __sync_val_compare_and_swap(&connection->version, version, version + 1) == version;
}

static __always_inline void let_go(struct Connection *connection) {
  __sync_fetch_and_add(&connection->version, 1);
}

static __always_inline void forget_key(const struct ConnectionTuple *key, __u32 slot) {
  struct ConnectionPlace *place = bpf_map_lookup_elem(&connection_keys, key);
  if (place && place->slot == slot) bpf_map_delete_elem(&connection_keys, key);
}

// Of a slot that is held.
static __always_inline void forget_keys(struct Connection *connection, __u32 slot) {
  forget_key(&connection->forward, slot);
  forget_key(&connection->reply, slot);
  connection->state = 0;
}

// Ends a connection; 0 when it had changed hands already.
__noinline int end_connection(__u32 slot, __u32 version) {
  struct Connection *connection = bpf_map_lookup_elem(&connections, &slot);
  if (!connection || !hold_slot(connection, version)) return 0;
  forget_keys(connection, slot);
  let_go(connection);
  return 1;
}

// Looks for a slot; the state of bpf_loop.
struct SlotSearch {
  __u64 now;
  __u64 oldest_ns;
  __u32 slot;
  __u32 version;
  __u32 seen;  // a slot is there to be taken
  __u32 free;  // it is empty or over
};

static long search_slot(__u32 index, struct SlotSearch *search) {
  __u32 slot = __sync_fetch_and_add(&connection_hand, 1) % connections_at_most;
  struct Connection *connection = bpf_map_lookup_elem(&connections, &slot);
  if (!connection) return 0;
  const __u32 version = *(volatile __u32 *)&connection->version;
  const __u32 state = *(volatile __u32 *)&connection->state;
  const __u64 used_ns = *(volatile __u64 *)&connection->used_ns;
  if (version & 1) return 0;
  const int over = state == 0 || is_closed(state) ||
                   is_expired(state, connection->forward.protocol, used_ns, search->now);
  if (!over && search->seen && used_ns >= search->oldest_ns) return 0;
  search->slot = slot;
  search->version = version;
  search->oldest_ns = used_ns;
  search->seen = 1;
  search->free = over;
  return over;
}

// A slot for a new connection, held and empty; its number, or negative when all are contended.
__noinline int take_slot(__u64 now) {
  __u32 searched = connections_at_most < SLOTS_SEARCHED ? connections_at_most : SLOTS_SEARCHED;
  for (int i = 0; i < SLOT_TRIES; ++i) {
    struct SlotSearch search = {.now = now};
    bpf_loop(searched, search_slot, &search, 0);
    if (!search.seen) continue;
    __u32 slot = search.slot;
    struct Connection *connection = bpf_map_lookup_elem(&connections, &slot);
    if (!connection || !hold_slot(connection, search.version)) continue;
    if (connection->state != 0) {
      if (search.free)
        COUNT_CONNECTIONS(aged);
      else
        COUNT_CONNECTIONS(evicted);
      forget_keys(connection, slot);
    }
    return (int)slot;
  }
  return -1;
}

// What a new connection is to be.
struct NewConnection {
  struct ConnectionTuple forward;
  struct ConnectionTuple reply;
  __u64 now;
  __u32 state;
  __u32 generation;
  __u32 flags;
  __u32 new_port;  // the port the backend is to answer is chosen here, not the client's own
};

// Room for one on each CPU, because a program's stack has none; tc's programs run with softirqs
// off, so that no second one needs it meanwhile.
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __type(key, __u32);
  __type(value, struct NewConnection);
  __uint(max_entries, 1);
} new_connections SEC(".maps");

static __always_inline struct NewConnection *begin_connection(void) {
  __u32 zero = 0;
  return bpf_map_lookup_elem(&new_connections, &zero);
}

// Makes room for `key` where the connection that has it is over.
__noinline int make_way(const struct ConnectionTuple *key, __u64 now) {
  if (!key) return 0;
  struct ConnectionPlace *place = bpf_map_lookup_elem(&connection_keys, key);
  if (!place) return 1;
  __u32 slot = place->slot;
  struct Connection *connection = bpf_map_lookup_elem(&connections, &slot);
  if (!connection) return 0;
  const __u32 version = *(volatile __u32 *)&connection->version;
  const __u32 state = *(volatile __u32 *)&connection->state;
  if (version & 1 || state == 0) return 0;
  if (!is_closed(state) && !is_expired(state, key->protocol, connection->used_ns, now)) return 0;
  if (!end_connection(slot, version)) return 0;
  COUNT_CONNECTIONS(aged);
  return 1;
}

// Gives the reply's key to `place`. Where another connection has it (a client that dials two
// Services with one backend from one port, or a port of the node that is given away already), the
// client is shown to the backend with another port.
__noinline int place_reply(struct NewConnection *wanted, struct ConnectionPlace *place) {
  if (!wanted || !place) return -1;
  const __u32 start = bpf_get_prandom_u32();
  for (__u32 i = 0; i < SOURCE_PORTS_TRIED; ++i) {
    if (i > 0 || wanted->new_port) {
      wanted->reply.destination_port =
          bpf_htons((__u16)(first_source_port + (start + i) % source_ports));
    }
    if (bpf_map_update_elem(&connection_keys, &wanted->reply, place, BPF_NOEXIST) == 0) return 0;
    if (make_way(&wanted->reply, wanted->now) &&
        bpf_map_update_elem(&connection_keys, &wanted->reply, place, BPF_NOEXIST) == 0) {
      return 0;
    }
  }
  return -1;
}

// Puts a connection into the table; `wanted->reply` then says what the backend will answer.
// Negative when it has no place, or another CPU was faster with the very same one: the caller may
// look for that.
__noinline int make_connection(struct NewConnection *wanted) {
  if (!wanted) return -1;
  const int taken = take_slot(wanted->now);
  if (taken < 0) return -1;
  struct ConnectionPlace place = {.slot = (__u32)taken, .is_reply = 1};
  struct Connection *connection = bpf_map_lookup_elem(&connections, &place.slot);
  if (!connection) return -1;
  if (place_reply(wanted, &place) != 0) {
    let_go(connection);
    return -1;
  }
  connection->forward = wanted->forward;
  connection->reply = wanted->reply;
  connection->used_ns = wanted->now;
  connection->generation = wanted->generation;
  connection->flags = wanted->flags;
  connection->state = wanted->state;
  const __u32 version = __sync_fetch_and_add(&connection->version, 1) + 1;
  place.is_reply = 0;
  if (bpf_map_update_elem(&connection_keys, &wanted->forward, &place, BPF_NOEXIST) != 0) {
    end_connection(place.slot, version);
    return -1;
  }
  COUNT_CONNECTIONS(made);
  return 0;
}
